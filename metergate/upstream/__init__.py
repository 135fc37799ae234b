"""The HTTP client of the proxy: a pool of connections, framing, streaming, tunnels. It knows no credits."""

from metergate.upstream.errors import BadRequestError, UpstreamError
from metergate.upstream.pool import Pool
from metergate.upstream.pulse import Pulse
from metergate.upstream.request_head import Client, HeadWriter
from metergate.upstream.response import Response

__all__ = ["BadRequestError", "Client", "HeadWriter", "Pool", "Pulse", "Response", "UpstreamError"]
