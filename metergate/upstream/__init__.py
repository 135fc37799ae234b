"""The HTTP client of the proxy: a pool of connections, framing, streaming, tunnels. It knows no credits."""

from metergate.upstream.errors import BadRequestError, UpstreamError
from metergate.upstream.pool import Pool
from metergate.upstream.pulse import Pulse
from metergate.upstream.request_head import Client, Head, HeadWriter
from metergate.upstream.response import Response
from metergate.upstream.response_head import AnswerReader
from metergate.upstream.socket import Handshake, Socket

__all__ = [
    "AnswerReader",
    "BadRequestError",
    "Client",
    "Handshake",
    "Head",
    "HeadWriter",
    "Pool",
    "Pulse",
    "Response",
    "Socket",
    "UpstreamError",
]
