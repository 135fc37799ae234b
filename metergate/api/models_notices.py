"""The bodies of endpoints, deliveries and notices."""

from typing import Annotated, Any

from pydantic import Field

from metergate.api.models import Given, Taken, Time

Url = Annotated[str, Field(description="An address that is safe to send to.", examples=["YOUR-ADDRESS"])]
Types = Annotated[
    list[str], Field(description="Patterns; all unless told.", examples=[["payment.*", "credits.low"]])
]


class NewEndpoint(Taken):
    url: Url
    types: Types | None = None
    description: str | None = None


class EndpointChange(Taken):
    url: Url | None = None
    types: Types | None = None
    description: str | None = None


class SecretRotation(Taken):
    grace: Annotated[str, Field(description="How long both sign; 24h unless told.")] | None = None


class Redelivery(Taken):
    id: str | None = None
    endpoint: str | None = None
    state: Annotated[str, Field(description="waiting, delivered or dead: all of them.")] | None = None
    since: Time | None = None


class Endpoint(Given):
    id: str
    url: str
    types: list[str]
    description: str
    state: Annotated[str, Field(description="on, off, or failing: it failed for long and was switched off")]
    failing_since: Time | None
    reason: Annotated[str | None, Field(description="Why the last attempt failed")]
    deliveries: dict[str, int]
    both_secrets_until: Time | None
    created_at: Time | None


class NewlyMadeEndpoint(Endpoint):
    secret: Annotated[str, Field(description="Shown this once.", examples=["whsec_…"])]


class EndpointList(Given):
    data: list[Endpoint]


class TypeOfNotice(Given):
    type: str
    told: Annotated[str, Field(description="When it is told")]


class TypeList(Given):
    data: list[TypeOfNotice]


class Delivery(Given):
    id: str
    endpoint: str
    notice: Annotated[str, Field(description="The header webhook-id")]
    type: str
    account: str | None
    state: Annotated[str, Field(description="waiting, delivered or dead")]
    tries: int
    status: Annotated[int | None, Field(description="What the receiver answered the last time")]
    detail: str | None
    at: Time | None
    next_at: Time | None
    ended_at: Time | None


class Attempt(Given):
    at: Time | None
    took_us: int
    status: int | None
    detail: str | None


class DeliveryWithLog(Delivery):
    body: dict[str, Any]
    attempts: list[Attempt]


class Notice(Given):
    id: str
    type: str
    account: str | None
    at: Time | None
    data: dict[str, Any]
