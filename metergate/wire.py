"""Terms and usage events as bytes.

Terms are encoded once for a caller and a route, then copied into every event of theirs as raw bytes, so a
call pays only for the few fields that are its own.
"""

import msgspec

from metergate.core.hold import Terms, UsageEvent

_encoder = msgspec.msgpack.Encoder()
_terms = msgspec.msgpack.Decoder(Terms)
_event = msgspec.msgpack.Decoder(UsageEvent)

encode = _encoder.encode


def encode_terms(terms: Terms) -> bytes:
    return encode(terms)


def decode_terms(data: bytes) -> Terms:
    return _terms.decode(data)


def raw_terms(data: bytes) -> Terms:
    """Encoded terms that stand in the place of `Terms` in an event about to be encoded."""
    return msgspec.Raw(data)  # type: ignore[return-value]  # a Raw is written as it is


def encode_event(event: UsageEvent) -> bytes:
    return encode(event)


def decode_event(data: bytes) -> UsageEvent:
    return _event.decode(data)
