"""
What the items of OpenAI's Responses API are: a request's input, a reply's output.

A conversation is a flat list there. Items that the model made and that follow each other become one
message of the assistant, which is what a reply is as well, so that a reply can be found again in
the next request's history. Every result of a tool is a message of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from perimeter.calls import Message, Part, Text, Thinking, ToolCall, ToolResult
from perimeter.dialects.openai_responses_content import (
    Item,
    content_of,
    data_of,
    other_of,
    output_of,
)
from perimeter.dialects.parsing import as_dict, as_json, as_list, as_text


ASSISTANT = "assistant"
TOOL = "tool"


def messages_of(items: Iterable[object]) -> tuple[Message, ...]:
    """
    Return the conversation that items are.

    Args:
        items: Of a request's `input`; strings among them are words of the user.
    """
    messages: list[Message] = []
    said: list[Part] = []  # by the assistant, in the items up to here
    answering = False
    for item in items:
        role, parts = _turn(item)
        if role == ASSISTANT:
            said += parts
            answering = True
            continue
        if answering:
            messages.append(Message(ASSISTANT, tuple(said)))
            said, answering = [], False
        messages.append(Message(role, parts))
    if answering:
        messages.append(Message(ASSISTANT, tuple(said)))
    return tuple(messages)


def answer_of(items: Iterable[object]) -> Message:
    """
    Return a reply's one message, whatever roles its items claim to have.

    Args:
        items: Of a reply's `output`.
    """
    return Message(ASSISTANT, tuple(part for item in items for part in _turn(item)[1]))


def tool_names(tools: object) -> list[str]:
    """
    Return what tools are called: their names, else an MCP server's label, else their type.

    Args:
        tools: As in a request; a namespace counts as the tools in it.
    """
    names = []
    for tool in map(as_dict, as_list(tools)):
        # Not by recursion: namespaces do not nest, whatever a broken client sends.
        named = as_list(tool["tools"]) if "tools" in tool else [tool]
        names += [_tool_name(as_dict(one)) for one in named]
    return [name for name in names if name]


def _tool_name(tool: Item) -> str:
    function = as_dict(tool.get("function"))  # as in chat completions; some servers take it
    for name in (tool.get("name"), tool.get("server_label"), function.get("name")):
        if isinstance(name, str) and name:
            return name
    return as_text(tool.get("type"))


def _turn(item: object) -> tuple[str, tuple[Part, ...]]:
    if isinstance(item, str):
        return "user", (Text(item),)
    if not isinstance(item, dict):
        return "", (other_of(item),)
    kind = item.get("type")
    if kind == "message" or (kind is None and ("role" in item or "content" in item)):
        return as_text(item.get("role")) or "user", content_of(item.get("content"))
    if isinstance(kind, str) and kind in _READERS:
        role, reader = _READERS[kind]
        return role or _role(item, kind), reader(item)
    return as_text(item.get("role")) or _role(item, as_text(kind)), (_unknown(item),)


def _unknown(item: Item) -> Part:
    return other_of(item, "item_reference")  # the one whose type may be left out


def _role(item: Item, kind: str) -> str:
    """Return whose an item without a role is; what the provider ran itself is the model's."""
    if kind.endswith("_output") and not _is_hosted(item):
        return TOOL
    return "user" if kind == "mcp_approval_response" else ASSISTANT


def _is_hosted(item: Item) -> bool:
    """Return whether the provider runs it, of tools that either side may run."""
    if "environment" in item:
        return as_dict(item["environment"]).get("type") == "container_reference"
    return item.get("execution") == "server"


def _reasoning(item: Item) -> tuple[Part, ...]:
    """Return the reasoning itself where it is shown, else its summary; "" if encrypted."""
    text = _words(item.get("content")) or _words(item.get("summary"))
    return (Thinking(text),)


def _words(content: object) -> str:
    if not content:
        return ""
    return "\n".join(part.text for part in content_of(content) if isinstance(part, Text))


def _id(item: Item) -> str:
    return as_text(item.get("call_id")) or as_text(item.get("id"))


def _written(item: Item, *names: str) -> str:
    """Return the first of some fields that there is, as text."""
    for name in names:
        value = item.get(name)
        if value is not None:
            return as_json(value)
    return ""


def _asked(item: Item, *names: str) -> str:
    """
    Return what a hosted tool was asked for, as text.

    Objects do not depend on the order of their keys, nor on those that are null: servers and
    clients change both on the way from a reply into a history.
    """
    for name in names:
        value = item.get(name)
        if isinstance(value, dict):
            return as_json({key: value[key] for key in sorted(value) if value[key] is not None})
    return _written(item, *names)


def _function_call(item: Item) -> tuple[Part, ...]:
    call_id = item.get("call_id") or item.get("id")
    arguments = as_json(item.get("arguments"))
    return (ToolCall(as_text(call_id), as_text(item.get("name")), arguments),)


def _call(item: Item) -> tuple[Part, ...]:
    """Return a call that the client runs, unless it says otherwise."""
    kind = as_text(item.get("type"))
    name = as_text(item.get("name")) or kind.removesuffix("_call")
    arguments = _written(item, "arguments", "input", "action", "actions", "operation")
    return (ToolCall(_id(item), name, arguments, server=_is_hosted(item)),)


def _result(item: Item) -> tuple[Part, ...]:
    text, media = output_of(item.get("output"))
    return (ToolResult(_id(item), text, item.get("status") == "failed", media),)


def _found_tools(item: Item) -> tuple[Part, ...]:
    return (ToolResult(_id(item), "\n".join(tool_names(item.get("tools")))),)


def _hosted(name: str, *arguments: str, results: str = "") -> Callable[[Item], tuple[Part, ...]]:
    """
    Return how to read a call that the provider ran itself: the call, and its result if shown.

    Args:
        name: The tool, where the item has no name.
        arguments: Fields that may have the arguments, most telling first.
        results: Field that has the result.
    """

    def read(item: Item) -> tuple[Part, ...]:
        called = as_text(item.get("name")) or name
        call = ToolCall(_id(item), called, _asked(item, *arguments), server=True)
        error = item.get("error")
        failed = bool(error) or item.get("status") == "failed"
        output = item.get(results)
        if output is None and not failed:
            return (call,)
        text, media = output_of(error if output is None else output)
        return call, ToolResult(call.id, text, failed, media)

    return read


def _image(item: Item) -> tuple[Part, ...]:
    prompt = _written(item, "revised_prompt")
    call = ToolCall(_id(item), "image_generation", prompt, server=True)
    failed = item.get("status") == "failed"
    data = as_text(item.get("result"))
    if not data and not failed:
        return (call,)
    form = as_text(item.get("output_format"))
    media = (data_of(data, f"image/{form}" if form else "image"),) if data else ()
    return call, ToolResult(call.id, "", failed, media)


_READERS: dict[str, tuple[str, Callable[[Item], tuple[Part, ...]]]] = {
    "reasoning": (ASSISTANT, _reasoning),
    "function_call": (ASSISTANT, _function_call),
    "custom_tool_call": (ASSISTANT, _call),
    "computer_call": (ASSISTANT, _call),
    "local_shell_call": (ASSISTANT, _call),
    "shell_call": (ASSISTANT, _call),
    "apply_patch_call": (ASSISTANT, _call),
    "tool_search_call": (ASSISTANT, _call),
    "function_call_output": (TOOL, _result),
    "custom_tool_call_output": (TOOL, _result),
    "computer_call_output": (TOOL, _result),
    "local_shell_call_output": (TOOL, _result),
    "shell_call_output": ("", _result),
    "apply_patch_call_output": (TOOL, _result),
    "tool_search_output": ("", _found_tools),
    "mcp_call": (ASSISTANT, _hosted("mcp", "arguments", results="output")),
    "web_search_call": (ASSISTANT, _hosted("web_search", "action", results="results")),
    "file_search_call": (ASSISTANT, _hosted("file_search", "queries", results="results")),
    "code_interpreter_call": (ASSISTANT, _hosted("code_interpreter", "code", results="outputs")),
    "image_generation_call": (ASSISTANT, _image),
}
"""
Whose each type of item is ("" where that depends), and how it is read.

Of the others only the type and a digest are kept.
"""
