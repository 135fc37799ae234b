"""What the request of an AI call says: the model, how much it may answer, about how long the prompt is."""

import re
from collections.abc import Mapping
from typing import Any

from metergate.core.asked import Dimensions
from metergate.core.money import MoneyError, units
from metergate.meters.body import Unreadable

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
    "service_tier",
    "speed",
)
"""The members of a request that say what it costs, whoever's API it is for."""

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+~-]{0,199}")
BYTES_PER_TOKEN = 2
"""For a hold: few texts have more tokens than that."""
BLOB = 1024
"""A text of so many characters without a blank in it is no text but a picture, a sound or a file."""
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
_ORDINARY = frozenset({"auto", "default", "standard", "standard_only"})


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
    name = model(path, said)
    found = [("model", name)] if name else []
    for name in ("service_tier", "speed"):
        value = said[name]
        if isinstance(value, str) and value not in _ORDINARY:
            if not _WORD.fullmatch(value):
                raise Unreadable(f"Write {name} as one word.")
            found.append((name, value))
    return tuple(found)


def output(path: str, said: Mapping[str, Any], otherwise: int) -> int:
    """The most tokens that may be answered; `otherwise` where the request names no maximum."""
    if path.endswith(_NO_OUTPUT):
        return 0
    config = _config(said)
    named = [said[name] for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")]
    named += [config.get("maxOutputTokens"), config.get("max_output_tokens")]
    choices = [said["n"], said["best_of"], config.get("candidateCount"), config.get("candidate_count")]
    most = max([_count(each) for each in named], default=0) or otherwise
    return most * min(CHOICES_MAX, max(1, *[_count(each) for each in choices]))


def tokens(body: bytes) -> int:
    """About as many tokens as the body may hold, rather too many; `BLOB`s are taken for pictures."""
    blobs = [each for each in body.split(b'"') if len(each) >= BLOB and _is_blob(each)]
    text = len(body) - sum(map(len, blobs))
    return -(-text // BYTES_PER_TOKEN) + TOKENS_PER_BLOB * len(blobs)


def _config(said: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("generationConfig", "generation_config"):
        if isinstance(said[name], dict):
            return said[name]  # type: ignore[no-any-return]  # it was checked a line before
    return {}


def _count(value: object) -> int:
    """A number that a request names; what is none is left to the upstream to refuse."""
    try:
        return 0 if value is None else units(value)
    except MoneyError:
        return 0


def _is_blob(piece: bytes) -> bool:
    return b" " not in piece and b"\\" not in piece and piece.isascii()
