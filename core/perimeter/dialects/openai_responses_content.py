"""
What messages and outputs of tools consist of in OpenAI's Responses API.

Media are told by their digests, whether they are sent inline or by their address.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from perimeter.calls import Media, Other, Part, Text
from perimeter.dialects.parsing import as_dict, as_json, as_list, as_text, digest


Item = dict[str, Any]


def content_of(content: object) -> tuple[Part, ...]:
    """
    Return the parts of a message's content.

    Args:
        content: A string, or a list of parts, bare strings perhaps among them.
    """
    if isinstance(content, str):
        return (Text(content),)
    if isinstance(content, dict):
        return (_part(content),)
    return tuple(_part(part) for part in as_list(content))


def output_of(output: object) -> tuple[str, tuple[Media, ...]]:
    """Return the words and the media of a tool's output, in any of its forms."""
    if isinstance(output, str):
        return output, ()
    if not isinstance(output, list | dict):
        return as_json(output), ()
    texts, media = [], []
    for value in output if isinstance(output, list) else (output,):
        part = _part(value)
        if isinstance(part, Media):
            media.append(part)
        else:
            texts.append(part.text if isinstance(part, Text) else _plain(value))
    return "\n".join(texts), tuple(media)


def _plain(value: object) -> str:
    """Return the words of an output of a shell, a code interpreter or something unknown."""
    fields = as_dict(value)
    texts = [fields.get(name) for name in ("stdout", "stderr", "logs")]
    return "".join(text for text in texts if isinstance(text, str)) or as_json(value)


def other_of(value: object, default: str = "") -> Other:
    """
    Return what is left of something unknown.

    Args:
        value: A part or an item.
        default: Its type where it does not say.
    """
    kind = as_text(as_dict(value).get("type"))
    return Other(kind or default, digest(_sorted_json(value)))


def _sorted_json(value: object) -> str:
    """Return JSON that does not depend on the order of keys, for servers change that."""
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except RecursionError:
        return ""
    except (ValueError, TypeError):  # lone surrogates, integers of more than 64 bits
        return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _part(part: object) -> Part:
    if isinstance(part, str):
        return Text(part)
    if not isinstance(part, dict):
        return other_of(part)
    text = part.get("text")
    if not isinstance(text, str):
        text = part.get("refusal")
    return Text(text) if isinstance(text, str) else _media(part) or other_of(part)


_ADDRESSES = ("image_url", "file_url", "video_url", "file_id")


def _media(part: Item) -> Media | None:
    kind = as_text(part.get("type")).removeprefix("input_").removeprefix("output_")
    sound = as_dict(part.get("input_audio"))
    for data, form in ((part.get("file_data"), kind), (sound.get("data"), _sound_type(sound))):
        if isinstance(data, str) and data:
            return data_of(data, form)
    address = _address(part, kind)
    if address.startswith("data:"):
        return data_of(address, kind)
    return Media(digest(address), kind) if address else None


def _address(part: Item, kind: str) -> str:
    if kind == "image" and "url" in part:  # from a code interpreter
        return as_text(part["url"])
    for name in _ADDRESSES:
        address = part.get(name)
        if isinstance(address, dict):  # as in chat completions
            address = address.get("url")
        if isinstance(address, str) and address:
            return address
    return ""


def _sound_type(sound: Item) -> str:
    form = as_text(sound.get("format"))
    return f"audio/{form}" if form else "audio"


def data_of(data: str, kind: str) -> Media:
    """
    Return media that are sent inline.

    Args:
        data: Base64, or an address of the kind `data:`, which says the media type as well.
        kind: The media type, or what is known of it.
    """
    if data.startswith("data:"):
        head, _, data = data.partition(",")
        kind = head[len("data:") :].partition(";")[0] or kind
    return Media(digest(data), kind, len(data))
