"""Tokens and errors, as chat completions, legacy completions and embeddings tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perimeter.calls import Usage
from perimeter.dialects.parsing import as_dict, as_json, count


def usage_of(value: object) -> Usage | None:
    """
    Return the tokens that a `usage` tells of, None where it gives no numbers.

    OpenAI counts cached tokens in the prompt and reasoning in the completion. Others' names for
    the cached ones: DeepSeek's `prompt_cache_hit_tokens`, Moonshot's `cached_tokens`. For
    embeddings some (Voyage) give nothing but the total.
    """
    usage = as_dict(value)
    prompt = _first(usage, "prompt_tokens", "input_tokens")
    completion = _first(usage, "completion_tokens", "output_tokens")
    if prompt is None and completion is None:
        prompt = usage.get("total_tokens")
    if prompt is None and completion is None:
        return None
    reasoning = _reasoning(usage)
    read, written = _cached(usage)
    cached = read + written
    return Usage(
        # More cached than there is: a gateway that counts like Anthropic, cached tokens apart.
        input=count(prompt) + (cached if cached > count(prompt) else 0),
        output=_output(usage, count(prompt), count(completion), reasoning),
        cache_read=read,
        cache_write=written,
        reasoning=reasoning,
    )


def _first(usage: Mapping[str, Any], *names: str) -> Any:
    return next((usage[name] for name in names if usage.get(name) is not None), None)


def _cached(usage: Mapping[str, Any]) -> tuple[int, int]:
    details = as_dict(_first(usage, "prompt_tokens_details", "input_tokens_details"))
    read = _first(details, "cached_tokens")
    if read is None:
        read = _first(usage, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    written = _first(details, "cache_write_tokens", "cache_creation_tokens")
    if written is None:
        written = usage.get("cache_creation_input_tokens")
    return count(read), count(written)


def _reasoning(usage: Mapping[str, Any]) -> int:
    details = as_dict(_first(usage, "completion_tokens_details", "output_tokens_details"))
    found = _first(details, "reasoning_tokens")
    return count(usage.get("reasoning_tokens") if found is None else found)


def _output(usage: Mapping[str, Any], prompt: int, completion: int, reasoning: int) -> int:
    """Return the whole answer; xAI leaves reasoning out of the completion, as its total shows."""
    apart = reasoning and usage.get("total_tokens") == prompt + completion + reasoning
    return completion + reasoning if apart else completion


def error_of(fields: Mapping[str, Any]) -> str:
    """
    Return what went wrong, "" if nothing did.

    Args:
        fields: A reply, a chunk or the body of an HTTP error, of whichever server: the error may
            be an object or a string, and may stand at the top (Mistral, FastAPI).
    """
    error = fields.get("error")
    if error:
        return _said(as_dict(error)) or as_json(error)
    if any(name in fields for name in ("choices", "data", "usage")):
        return ""
    return _said(fields) if "message" in fields or "detail" in fields else ""


def _said(error: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "code", "type"):
        if value := error.get(name):
            return as_json(value)
    return ""
