"""A metered app whose customers pay: what the stories of every provider have in common."""

from metergate import MeterGate
from metergate.api import admin_app
from metergate.asgi.types import Receive, Scope, Send
from tests.api.client import TOKEN, Client


async def hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class Shop:
    def __init__(self, app: MeterGate) -> None:
        self.app = app
        self.operator = Client(admin_app(app.engine.office.acting_as("admin"), TOKEN), TOKEN)

    async def customer(self, account: str = "ada") -> Client:
        wanted = {"id": account, "email": f"{account}@example.com"}
        await self.operator.ok("POST", "/admin/v1/accounts", wanted)
        made = await self.operator.ok("POST", "/admin/v1/keys", {"account": account})
        return Client(self.app, made["key"])
