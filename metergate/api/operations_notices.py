"""The endpoints of webhooks out, for operators."""

from metergate.api import models_notices as models
from metergate.api.endpoints import LIST, Endpoint
from metergate.api.models import Page
from metergate.api.models_payments import Forgotten, Replayed

NOTICES: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/endpoints",
        "endpoints.create",
        models.NewlyMadeEndpoint,
        "Tell an address what happens",
        models.NewEndpoint,
        status=201,
    ),
    Endpoint("GET", "/endpoints", "endpoints.list", models.EndpointList, "Where notices go"),
    Endpoint("GET", "/notice-types", "endpoints.types", models.TypeList, "The types of notices"),
    Endpoint("GET", "/endpoints/{id}", "endpoints.show", models.Endpoint, "One endpoint"),
    Endpoint(
        "PATCH",
        "/endpoints/{id}",
        "endpoints.update",
        models.Endpoint,
        "Change an endpoint",
        models.EndpointChange,
    ),
    Endpoint("DELETE", "/endpoints/{id}", "endpoints.delete", Forgotten, "Forget an endpoint"),
    Endpoint("POST", "/endpoints/{id}/enable", "endpoints.enable", models.Endpoint, "Ask an endpoint again"),
    Endpoint(
        "POST", "/endpoints/{id}/disable", "endpoints.disable", models.Endpoint, "Tell an endpoint no more"
    ),
    Endpoint(
        "POST",
        "/endpoints/{id}/rotate",
        "endpoints.rotate",
        models.NewlyMadeEndpoint,
        "Make another secret",
        models.SecretRotation,
        status=201,
        optional_body=True,
    ),
    Endpoint(
        "POST",
        "/endpoints/{id}/test",
        "endpoints.test",
        models.Delivery,
        "Send a notice that means nothing",
        status=201,
    ),
    Endpoint(
        "GET",
        "/deliveries",
        "deliveries.list",
        Page[models.Delivery],
        "What was delivered, and what waits",
        query=("endpoint", "state", "notice", *LIST),
    ),
    Endpoint("GET", "/deliveries/{id}", "deliveries.show", models.DeliveryWithLog, "One, with its log"),
    Endpoint(
        "POST",
        "/deliveries/replay",
        "deliveries.replay",
        Replayed,
        "Deliver once more",
        models.Redelivery,
    ),
    Endpoint(
        "GET",
        "/notices",
        "notices.list",
        Page[models.Notice],
        "What was told",
        query=("account", "type", *LIST),
    ),
)
