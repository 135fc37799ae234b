"""What AI APIs report as usage, in their several shapes, as units of exclusive kinds.

The traps are in the overlaps. OpenAI's totals contain what was cached, spoken or thought; Anthropic's input
contains nothing that was cached; Gemini's output contains no thoughts; some servers leave thoughts out of the
output and put them into the total. Everything is taken apart here, so that the sum counts nothing twice. What
does not add up is no usage: whoever reports it may be wrong in other figures as well.
"""

from collections.abc import Mapping
from typing import Any

from metergate.core.kinds import SEARCH, Counts, counts
from metergate.core.money import MoneyError, units

Usage = Mapping[str, Any]
Units = dict[str, int]

MODALITIES: Mapping[str, str] = {"AUDIO": "audio", "IMAGE": "image", "DOCUMENT": "image", "VIDEO": "video"}
"""Gemini's; pages of a document are priced as images."""


class Unbelievable(ValueError):
    """The figures are none, or contradict each other."""


def counted(usage: Usage) -> Counts | None:
    """The units of a usage object of any known shape; None when it is of none, or cannot be believed."""
    try:
        return counts(_read(usage))
    except (Unbelievable, MoneyError):
        return None


def _read(usage: Usage) -> Units:
    if "promptTokenCount" in usage or "totalTokenCount" in usage:
        return _gemini(usage)
    of_anthropic = "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage
    if of_anthropic and "prompt_tokens" not in usage and "input_tokens_details" not in usage:
        return _anthropic(usage)
    return _openai(usage)


def _number(usage: Usage, *names: str) -> int:
    """The first of the numbers that is there; a missing one is zero, as its detail was left out."""
    for name in names:
        value = usage.get(name)
        if value is not None:
            return units(value)
    return 0


def _needed(usage: Usage, *names: str) -> int:
    if all(usage.get(name) is None for name in names):
        raise Unbelievable(names[0])
    return _number(usage, *names)


def _part(usage: Usage, *names: str) -> Usage:
    """An object inside the usage; empty where it is missing."""
    for name in names:
        value = usage.get(name)
        if isinstance(value, Mapping):
            return value
        if value is not None:
            raise Unbelievable(name)
    return {}


def _rest(whole: int, *parts: int) -> int:
    """What of the whole is in none of its parts."""
    left = whole - sum(parts)
    if left < 0:
        raise Unbelievable("the parts are more than the whole")
    return left


def _overlapping(whole: int, one: int, other: int) -> tuple[int, int, int]:
    """Two parts of a whole that may share units, as three that do not: as little shared as there must be."""
    shared = max(0, one + other - whole)
    if shared > min(one, other):
        raise Unbelievable("the parts are more than the whole")
    return one - shared, other - shared, shared


def _openai(usage: Usage) -> Units:
    """Chat completions, completions, embeddings, responses, images, and what speaks like them."""
    total = _number(usage, "total_tokens")
    prompt = _needed(usage, "prompt_tokens", "input_tokens")
    output = _number(usage, "completion_tokens", "output_tokens")
    if all(usage.get(name) is None for name in ("completion_tokens", "output_tokens")):
        output = _rest(_needed(usage, "total_tokens"), prompt)
    beyond = _rest(total, prompt, output) if total else 0
    return _openai_input(usage, prompt) | _openai_output(usage, output, beyond)


def _openai_input(usage: Usage, prompt: int) -> Units:
    details = _part(usage, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    cached = _number(details, "cached_tokens") or _number(usage, "prompt_cache_hit_tokens", "cached_tokens")
    image, written = _number(details, "image_tokens"), _number(details, "cache_write_tokens")
    rest = _rest(prompt, image, written)
    cached, audio, both = _overlapping(rest, cached, _number(details, "audio_tokens"))
    return {
        "input": _rest(rest, cached, audio, both),
        "cached_input": cached,
        "cache_write": written,
        "image_input": image,
        "audio_input": audio,
        "cached_audio_input": both,
    }


def _openai_output(usage: Usage, output: int, beyond: int) -> Units:
    """`beyond` is in the total and in neither prompt nor output: thoughts, where servers count them apart."""
    details = _part(usage, "completion_tokens_details", "output_tokens_details", "output_token_details")
    thoughts = _number(details, "reasoning_tokens", "thinking_tokens")
    audio, image = _number(details, "audio_tokens"), _number(details, "image_tokens")
    inside = 0 if beyond == thoughts else thoughts
    return {
        "output": _rest(output, inside, audio, image),
        "reasoning": inside + beyond,
        "image_output": image,
        "audio_output": audio,
    }


def _anthropic(usage: Usage) -> Units:
    output = _needed(usage, "output_tokens")
    thoughts = _number(_part(usage, "output_tokens_details"), "thinking_tokens", "reasoning_tokens")
    written = _number(usage, "cache_creation_input_tokens")
    for_long = _number(_part(usage, "cache_creation"), "ephemeral_1h_input_tokens")
    return {
        "input": _needed(usage, "input_tokens"),
        "cached_input": _number(usage, "cache_read_input_tokens"),
        "cache_write": _rest(written, for_long),
        "cache_write_1h": for_long,
        "output": _rest(output, thoughts),
        "reasoning": thoughts,
        SEARCH: _number(_part(usage, "server_tool_use"), "web_search_requests"),
    }


def _gemini(usage: Usage) -> Units:
    prompt = _needed(usage, "promptTokenCount")
    tools = _number(usage, "toolUsePromptTokenCount")
    cached = _number(usage, "cachedContentTokenCount")
    output, thoughts = _number(usage, "candidatesTokenCount"), _number(usage, "thoughtsTokenCount")
    found = _input_by_modality(usage, prompt, cached)
    found["input"] += tools
    found |= {"reasoning": thoughts, "output": output}
    for kind, spoken in _modalities(usage, "candidatesTokensDetails").items():
        found["output"] = _rest(found["output"], spoken)
        found[f"{kind}_output"] = spoken
    beyond = _number(usage, "totalTokenCount") - prompt - tools - output - thoughts
    found["reasoning"] += max(0, beyond)
    return found


def _input_by_modality(usage: Usage, prompt: int, cached: int) -> Units:
    heard = _modalities(usage, "promptTokensDetails")
    kept = _modalities(usage, "cacheTokensDetails")
    found = {f"{kind}_input": _rest(tokens, kept.get(kind, 0)) for kind, tokens in heard.items()}
    kept.pop("video", None)  # has no kind of its own when it is cached
    found |= {f"cached_{kind}_input": tokens for kind, tokens in kept.items()}
    found["cached_input"] = _rest(cached, *kept.values())
    return found | {"input": _rest(prompt, *found.values())}


def _modalities(usage: Usage, name: str) -> Units:
    """What is no text, by modality."""
    found: Units = {}
    details = usage.get(name)
    for each in details if isinstance(details, list) else ():
        modality = each.get("modality") if isinstance(each, Mapping) else None
        kind = MODALITIES.get(modality) if isinstance(modality, str) else None
        if kind is not None:
            found[kind] = found.get(kind, 0) + _number(each, "tokenCount")
    return found
