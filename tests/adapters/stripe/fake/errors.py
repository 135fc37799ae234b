"""How Stripe says no."""

from typing import Any


class Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "", type: str = "", **more: Any) -> None:
        super().__init__(message)
        self.status = status
        kind = type or ("card_error" if status == 402 else "invalid_request_error")
        self.body = {"error": {"type": kind, "message": message, "code": code or None, **more}}


def missing(kind: str, id: str) -> Refused:
    return Refused(404, f"No such {kind}: '{id}'", "resource_missing", param="id")
