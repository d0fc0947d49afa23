"""What OpenAI's Responses API streams for a response: the events, as plain data."""

from __future__ import annotations


def delta_events(stem, text, whole, **where):
    """A text, in deltas of at most three characters, and then as a whole."""
    for start in range(0, len(text), 3):
        yield {"type": f"{stem}.delta", "delta": text[start : start + 3], **where}
    yield {"type": f"{stem}.done", whole: text, **where}


def part_events(item, field, where):
    """The parts of a message or of a reasoning item."""
    stems = {
        "output_text": ("response.output_text", "response.content_part", "content_index"),
        "refusal": ("response.refusal", "response.content_part", "content_index"),
        "reasoning_text": ("response.reasoning_text", "response.content_part", "content_index"),
        "summary_text": (
            "response.reasoning_summary_text",
            "response.reasoning_summary_part",
            "summary_index",
        ),
    }
    for index, part in enumerate(item.get(field) or ()):
        stem, part_stem, name = stems[part["type"]]
        text = "refusal" if part["type"] == "refusal" else "text"
        there = {**where, name: index}
        yield {"type": f"{part_stem}.added", "part": {**part, text: ""}, **there}
        yield from delta_events(stem, part[text], text, **there)
        yield {"type": f"{part_stem}.done", "part": part, **there}


FIELDS = {
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
    "mcp_call": ("response.mcp_call_arguments", "arguments"),
    "code_interpreter_call": ("response.code_interpreter_call_code", "code"),
}
LATER = {"content": [], "summary": [], "arguments": "", "input": "", "code": "", "output": None}


def item_events(index, item):
    """An item: announced with nothing in it, grown, finished."""
    where = {"output_index": index, "item_id": item["id"]}
    empty = {name: LATER.get(name, value) for name, value in item.items()}
    empty["status"] = "in_progress"
    yield {"type": "response.output_item.added", "output_index": index, "item": empty}
    yield {"type": f"response.{item['type']}.in_progress", **where}
    yield from part_events(item, "summary", where)
    yield from part_events(item, "content", where)
    if item["type"] in FIELDS:
        stem, field = FIELDS[item["type"]]
        yield from delta_events(stem, item[field], field, **where)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def response_events(response, *, output_at_end=True):
    """All of a response."""
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    begun["incomplete_details"] = None
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(response["output"]):
        yield from item_events(index, item)
    ended = response if output_at_end else {**response, "output": []}
    yield {"type": f"response.{response['status']}", "response": ended}
