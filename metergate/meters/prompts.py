"""What the request of an AI call says: the model, how much it may answer, about how long the prompt is."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metergate.core.asked import Dimensions
from metergate.core.table import SERVICES
from metergate.meters.body import Unreadable
from metergate.meters.llm import TOKENS_MAX

SAID = (
    "model",
    "n",
    "best_of",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "generationConfig",
    "generation_config",
    *SERVICES,
    "serviceTier",
    "models",
    "fallbacks",
)
"""The members of a request that say what it costs, whoever's API it is for."""
OTHERS = ("models", "fallbacks")
"""Where routers take other models that may serve the call instead, at other prices."""

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+~-]{0,199}")
BYTES_PER_TOKEN = 2
"""For a hold: few texts have more tokens than that."""
BLOB = 1024
"""What is as long as that and looks like base64 is a picture, a sound or a file, where one may stand."""
BLOBS = frozenset(
    b"url image_url file_url data file_data b64_json image result "
    b"signature thoughtSignature thought_signature encrypted_content".split()
)
"""The names under which APIs take them. Under another one it is a text, whatever it looks like."""
TOKENS_PER_BLOB = 3000
CHOICES_MAX = 1024

_OF_GEMINI = re.compile(r"/(?:models|tunedModels)/([^/:]+):[A-Za-z]+\Z")
_OF_AZURE = re.compile(r"/deployments/([^/]+)/")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_NO_OUTPUT = (
    "/embeddings",
    "/moderations",
    "/rerank",
    ":embedContent",
    ":batchEmbedContents",
    ":countTokens",
)
_ORDINARY = frozenset({"auto", "default", "standard", "standard_only", "global"})
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-\\"
_BEFORE = 128
"""What it is may be said in so many bytes before it, as `data:image/png;base64,`."""
_NAME_ENDS = re.compile(rb"\s*:\s*")


def model(path: str, said: Mapping[str, Any]) -> str:
    """The model in small letters, empty where none is named; one in the path is the one that is served."""
    in_path = _OF_GEMINI.search(path) or _OF_AZURE.search(path)
    name = in_path[1] if in_path else said["model"]
    if name is None:
        return ""
    if not isinstance(name, str) or not MODEL.fullmatch(name):
        raise Unreadable('Name the model, such as "model": "gpt-4o".')
    return name.removeprefix("models/").lower()


def dimensions(path: str, said: Mapping[str, Any]) -> Dimensions:
    """The model, and the service that was asked for where it is not the ordinary one."""
    for name in OTHERS:
        if said[name]:
            raise Unreadable(f"Name one model, and leave {name} out: the call is paid for by its model.")
    name = model(path, said)
    found = [("model", name)] if name else []
    for name, value in _services(said):
        if value not in _ORDINARY:
            if not _WORD.fullmatch(value):
                raise Unreadable(f"Write {name} as one word.")
            found.append((name, value.lower()))
    return tuple(found)


def _services(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in SERVICES:
        value = said[name]
        if name == "service_tier" and said["serviceTier"] is not None:  # as Gemini writes it
            if value is not None:
                raise Unreadable("Write service_tier once.")
            value = said["serviceTier"]
        if isinstance(value, str):
            yield name, value


def output(path: str, said: Mapping[str, Any], otherwise: int) -> int:
    """The most tokens that may be answered; `otherwise` where the request names no maximum."""
    if path.endswith(_NO_OUTPUT):
        return 0
    named = [said[name] for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")]
    choices = [said["n"], said["best_of"]]
    for config in (said["generationConfig"], said["generation_config"]):
        if isinstance(config, dict):
            named += [config.get("maxOutputTokens"), config.get("max_output_tokens")]
            choices += [config.get("candidateCount"), config.get("candidate_count")]
    most = max(map(_count, named)) or otherwise
    return most * min(CHOICES_MAX, max(1, *map(_count, choices)))


def tokens(body: bytes) -> int:
    """About as many tokens as the body may hold, rather too many; a blob is as many as a large picture."""
    pieces = body.split(b'"')
    long = [place for place, piece in enumerate(pieces) if len(piece) >= BLOB]
    blobs = [len(pieces[place]) for place in long if _is_blob(pieces, place)]
    return -(-(len(body) - sum(blobs)) // BYTES_PER_TOKEN) + TOKENS_PER_BLOB * len(blobs)


def _count(value: object) -> int:
    """A number that a request names, as lenient servers take it; what is none is the upstream's to refuse."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0
    try:
        number = min(float(value), TOKENS_MAX)
    except ValueError:
        return 0
    except OverflowError:
        return TOKENS_MAX
    return int(number) if number > 0 and number == int(number) else 0


def _is_blob(pieces: Sequence[bytes], place: int) -> bool:
    """Whether what stands there between two quotes is no text, by its look and by its name."""
    if place < 2 or pieces[place - 2] not in BLOBS or not _NAME_ENDS.fullmatch(pieces[place - 1]):
        return False
    rest = pieces[place][_BEFORE:]
    return not rest.translate(None, _BASE64) and b"\\u" not in rest
