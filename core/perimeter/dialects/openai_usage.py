"""Tokens and errors, as chat completions, legacy completions and embeddings tell of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perimeter.calls import Usage
from perimeter.dialects.parsing import as_dict, as_json, count, error_type, filtered


def usage_of(value: object) -> Usage | None:
    """
    Return the tokens that a `usage` tells of, None where it gives no numbers.

    OpenAI counts cached tokens in the prompt and reasoning in the completion. Others' names for
    the cached ones: DeepSeek's `prompt_cache_hit_tokens`, Moonshot's `cached_tokens`. For
    embeddings some (Voyage) give nothing but the total.
    """
    usage = as_dict(value)
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(prompt) is int and type(completion) is int and usage.keys() <= _USUAL:
        return Usage(max(prompt, 0), max(completion, 0))
    prompt = usage.get("input_tokens") if prompt is None else prompt
    completion = usage.get("output_tokens") if completion is None else completion
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


_USUAL = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


def _cached(usage: Mapping[str, Any]) -> tuple[int, int]:
    get = usage.get
    details = as_dict(get("prompt_tokens_details") or get("input_tokens_details")).get
    read, written = details("cached_tokens"), details("cache_write_tokens")
    if read is None:
        read = get("prompt_cache_hit_tokens")
        read = get("cached_tokens") if read is None else read
        read = get("cache_read_input_tokens") if read is None else read
    if written is None:
        written = details("cache_creation_tokens")
        written = get("cache_creation_input_tokens") if written is None else written
    return count(read), count(written)


def _reasoning(usage: Mapping[str, Any]) -> int:
    get = usage.get
    details = as_dict(get("completion_tokens_details") or get("output_tokens_details"))
    found = details.get("reasoning_tokens")
    return count(get("reasoning_tokens") if found is None else found)


def _output(usage: Mapping[str, Any], prompt: int, completion: int, reasoning: int) -> int:
    """Return the whole answer; xAI leaves reasoning out of the completion, as its total shows."""
    apart = reasoning and usage.get("total_tokens") == prompt + completion + reasoning
    return completion + reasoning if apart else completion


def error_of(fields: Mapping[str, Any]) -> str:
    """
    Return what went wrong, "" if nothing did, or only a filter of content stepped in.

    Args:
        fields: A reply, a chunk or the body of an HTTP error, of whichever server: the error may
            be an object or a string, and may stand at the top (Mistral, FastAPI).
    """
    error = fields.get("error")
    if error:
        if filtered(error):
            return ""
        return _said(as_dict(error)) or as_json(error)
    if "choices" in fields or "data" in fields or "usage" in fields:
        return ""
    return _said(fields) if "message" in fields or "detail" in fields else ""


def error_type_of(fields: Mapping[str, Any]) -> str:
    """Return what the error that `error_of` finds is called, "" where the server does not say."""
    if not error_of(fields):
        return ""
    error = fields.get("error")
    return error_type(error if isinstance(error, dict) else fields)


def _said(error: Mapping[str, Any]) -> str:
    for name in ("message", "detail", "code", "type"):
        if value := error.get(name):
            return as_json(value)
    return ""
