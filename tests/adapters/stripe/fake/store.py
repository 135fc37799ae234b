"""What the fake of Stripe remembers: objects by id, lists and a search that is behind, and events."""

import copy
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from metergate.ports import Clock
from tests.adapters.stripe.fake.errors import Refused, missing

Json = dict[str, Any]

SEARCH_LAG_S = 60
COUNTED = ("payment_intent", "checkout.session")


class Store:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.url = ""
        self.searches = True
        """Whether the account is of a country in which there is a search."""
        self.reachable = True
        """Whether news reaches whom it is for."""
        self.objects: dict[str, Json] = {}
        self.events: list[Json] = []
        self._numbers = count(1)

    def now_s(self) -> int:
        return self.clock() // 10**6

    def add(self, prefix: str, kind: str, *, id: str = "", **fields: Any) -> Json:
        id = id or f"{prefix}_{next(self._numbers):014d}"
        made = {"id": id, "object": kind, "created": self.now_s(), **fields}
        if kind != "refund":  # which is of the mode of its charge
            made.setdefault("livemode", False)
        self.objects[id] = made
        return made

    def get(self, kind: str, id: str) -> Json:
        found = self.objects.get(id)
        if found is None or found["object"] != kind:
            raise missing(kind, id)
        return found

    def all(self, kind: str) -> list[Json]:
        """The newest first."""
        return [each for each in reversed(self.objects.values()) if each["object"] == kind]

    def tell(self, type: str, about: Json) -> None:
        """Something happened, of which an event tells as it is at this instant."""
        event = self.add("evt", "event", type=type, data={"object": self.shown(about)}, api_version="fake")
        event["undelivered"] = not self.reachable
        self.events.append(event)

    def page(self, url: str, found: Sequence[Json], asked: Json) -> Json:
        """A part of a list, as Stripe cuts it: behind an object, or before it, which is nearer to it."""
        since = asked.get("created", {}).get("gte", 0)
        ids = [each["id"] for each in found]
        limit = asked.get("limit", 10)
        rest = [each for each in found if each["created"] >= since]
        if after := asked.get("starting_after"):
            self._must_be(after)
            rest = rest[ids.index(after) + 1 :] if after in ids else rest
        if before := asked.get("ending_before"):
            newer = self._must_be(before)
            rest = [each for each in rest if self._place(each) > self._place(newer)]
            return self._listed(url, rest[-limit:], more=len(rest) > limit, expand=asked)
        return self._listed(url, rest[:limit], more=len(rest) > limit, expand=asked)

    def searched(self, url: str, kind: str, query: str) -> Json:
        """Only `metadata['name']:'value'`, and nothing of the last minute."""
        if not self.searches:
            raise Refused(400, "Search is not available for your account.")
        name, value = query.removeprefix("metadata['").removesuffix("'").split("']:'")
        value = value.replace("\\'", "'").replace("\\\\", "\\")
        old = [each for each in self.all(kind) if each["created"] <= self.now_s() - SEARCH_LAG_S]
        found = [each for each in old if each["metadata"].get(name) == value]
        shown = [self.shown(each) for each in found]
        return {"object": "search_result", "url": url, "has_more": False, "data": shown}

    def shown(self, about: Json, expand: Iterable[str] = ()) -> Json:
        """An object as Stripe writes it: others by their id, unless they are asked for."""
        shown = copy.deepcopy({name: value for name, value in about.items() if not name.startswith("_")})
        for path in expand:
            self._expand(shown, path.split("."))
        return shown

    def made(self) -> int:
        """How many payments, or pages that nobody has paid on yet, there are."""
        intents = len(self.all("payment_intent"))
        return intents + len([each for each in self.all("checkout.session") if not each["payment_intent"]])

    def _expand(self, shown: Json, path: list[str]) -> None:
        name, *more = path
        value = shown.get(name)
        if value is None and (derived := self._derived(shown, name)) is not None:
            value = shown[name] = derived
        if isinstance(value, str):
            value = shown[name] = self.shown(self.objects[value])
        if more and isinstance(value, list):
            for each in value:
                self._expand(each, more)
        elif more and isinstance(value, dict):
            self._expand(value, more)

    def _derived(self, shown: Json, name: str) -> Json | None:
        """Lists that belong to an object, which Stripe shows when they are asked for."""
        if (shown.get("object"), name) == ("charge", "refunds"):
            found, url = self.of("refund", "charge", shown["id"]), "/v1/refunds"
            return self._listed(url, found[:10], more=len(found) > 10, expand={})
        if (shown.get("object"), name) == ("invoice", "payments"):
            return self._listed(
                "/v1/invoice_payments",
                self.of("invoice_payment", "invoice", shown["id"]),
                more=False,
                expand={},
            )
        return None

    def of(self, kind: str, name: str, id: str) -> list[Json]:
        return [each for each in self.all(kind) if each.get(name) == id]

    def _listed(self, url: str, found: Sequence[Json], *, more: bool, expand: Json) -> Json:
        paths = [each.removeprefix("data.") for each in expand.get("expand", ())]
        data = [self.shown(each, paths) for each in found]
        return {"object": "list", "url": url, "has_more": more, "data": data}

    def _must_be(self, id: str) -> Json:
        found = self.objects.get(id)
        if found is None:
            raise missing("object", id)
        return found

    def _place(self, about: Json) -> int:
        return list(self.objects).index(about["id"])
