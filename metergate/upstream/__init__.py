"""The data path of the proxy: pool, framing, forwarding, tunnels. It knows neither credits nor ASGI."""

from metergate.upstream.errors import BadRequestError, UpstreamError
from metergate.upstream.forwarding import Caller, Forwarding
from metergate.upstream.pool import Pool
from metergate.upstream.pulse import Pulse
from metergate.upstream.request_head import Client, Head, HeadWriter
from metergate.upstream.response import Response
from metergate.upstream.response_head import AnswerReader
from metergate.upstream.socket import Handshake, Socket
from metergate.upstream.socket_forwarding import SocketCaller, SocketForwarding
from metergate.upstream.ways import Way, Ways

__all__ = [
    "AnswerReader",
    "BadRequestError",
    "Caller",
    "Client",
    "Forwarding",
    "Handshake",
    "Head",
    "HeadWriter",
    "Pool",
    "Pulse",
    "Response",
    "Socket",
    "SocketCaller",
    "SocketForwarding",
    "UpstreamError",
    "Way",
    "Ways",
]
