"""The endpoints of top-ups by themselves and of alerts, for operators and for customers."""

from metergate.api import models_guards as models
from metergate.api.endpoints import LIST, Endpoint
from metergate.api.models import Page

GUARDS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/top-ups",
        "topups.list",
        Page[models.TopUp],
        "Who tops up by itself",
        query=("state", *LIST),
    ),
    Endpoint(
        "GET", "/accounts/{account}/top-up", "topups.show", models.TopUp, "How an account tops up by itself"
    ),
    Endpoint(
        "PUT",
        "/accounts/{account}/top-up",
        "topups.set",
        models.TopUp,
        "Have it top up by itself, and go on after a stop",
        models.TopUpSettings,
        optional_body=True,
    ),
    Endpoint(
        "DELETE", "/accounts/{account}/top-up", "topups.off", models.TopUp, "Have it begin no other top-up"
    ),
    Endpoint("GET", "/accounts/{account}/alerts", "alerts.show", models.AlertLevels, "When somebody is told"),
    Endpoint(
        "PUT",
        "/accounts/{account}/alerts",
        "alerts.set",
        models.AlertLevels,
        "Give it thresholds of its own",
        models.AlertSettings,
    ),
    Endpoint(
        "DELETE", "/accounts/{account}/alerts", "alerts.reset", models.AlertLevels, "Use the policy's again"
    ),
)
"""The operator's side."""

OWN_GUARDS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/top-up", "topups.show", models.TopUp, "How own top-ups go"),
    Endpoint(
        "PUT",
        "/top-up",
        "topups.set",
        models.TopUp,
        "Top up by itself, and go on after a stop",
        models.TopUpSettings,
        optional_body=True,
    ),
    Endpoint("DELETE", "/top-up", "topups.off", models.TopUp, "Begin no other top-up"),
    Endpoint("GET", "/alerts", "alerts.show", models.AlertLevels, "When somebody is told"),
    Endpoint(
        "PUT",
        "/alerts",
        "alerts.set",
        models.AlertLevels,
        "Thresholds of one's own",
        models.AlertSettings,
    ),
    Endpoint("DELETE", "/alerts", "alerts.reset", models.AlertLevels, "Use the policy's again"),
)
"""The customer's side."""
