"""
OpenAI embeddings: `POST /v1/embeddings`.

A vector is computed from the text's words (feature hashing), so that equal texts have equal vectors
and texts with words in common are closer than others.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from typing import Any, Literal

import msgspec

from perimeter.simulator.desk import Desk
from perimeter.simulator.parsing import parse
from perimeter.simulator.providers import Refusal
from perimeter.simulator.tokens import count
from perimeter.simulator.wire import Query, Reply


_DIMENSIONS = 1536
_MOST_DIMENSIONS = 8192
_WORD = re.compile(r"\w+")


class _Request(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None


def embed(query: Query, _desk: Desk) -> Reply:
    """Answer an embeddings request."""
    request = parse(query.body, _Request)
    dimensions = _DIMENSIONS if request.dimensions is None else request.dimensions
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise Refusal(400, f"Invalid value for 'dimensions': {dimensions}.", param="dimensions")
    texts = _texts(request.input)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _coded(vector(text, dimensions), request.encoding_format),
        }
        for index, text in enumerate(texts)
    ]
    used = sum(map(count, texts))
    usage = {"prompt_tokens": used, "total_tokens": used}
    return Reply({"object": "list", "data": data, "model": request.model, "usage": usage})


def _texts(given: str | list[str | int | list[int]]) -> list[str]:
    """Return the texts to embed; token ids count as words of their own."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise Refusal(400, "'input' must not be empty.", param="input")
    if all(isinstance(item, int) for item in given):
        return [" ".join(map(str, given))]
    return [item if isinstance(item, str) else _ids(item) for item in given]


def _ids(item: int | list[int]) -> str:
    return " ".join(map(str, item)) if isinstance(item, list) else str(item)


def vector(text: str, dimensions: int) -> list[float]:
    """Return the text's vector, of length one, with values that a 32-bit float holds exactly."""
    values = [0.0] * dimensions
    for word in _WORD.findall(text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest)
        values[(number >> 1) % dimensions] += 1.0 if number & 1 else -1.0
    norm = math.hypot(*values) or 1.0
    form = f"<{dimensions}f"
    return list(struct.unpack(form, struct.pack(form, *(value / norm for value in values))))


def _coded(values: list[float], encoding: str | None) -> Any:
    if encoding != "base64":
        return values
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
