"""
Choosing tools and filling in their arguments.

A tool is called when the user's message matches it: a word of the tool's name ("weather" for
`get_weather`), three words of its description and parameter names together, or a sum where it takes
an expression. The best match is called, once per user message and set of arguments, so that an
agent's loop ends.

Arguments come from the message: places for `city` or `location` ("in Paris and New York"), sums for
`expression`, e-mail addresses, links and dates for parameters named so, quoted text and proper
names for other strings, numbers in order, enum values that are mentioned. Two cities where the tool
takes one make two parallel calls, or two calls in turn where parallel ones are not allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from perimeter.simulator.arguments import fill
from perimeter.simulator.arithmetic import expressions
from perimeter.simulator.conversation import Call, Conversation, Tool


_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_COMMON_WORDS = """
    a an and any are as at be by can do does for from get give has have how i if in into is it me my
    of on or please set string tell the this that to tool use user what when where which who will
    with you your fetch run call function returns return current value name given number
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_ENOUGH = 3
_READ = 4000
"""Characters of a message that are looked at."""
_EXPRESSION_NAMES = frozenset({"expression", "formula", "equation", "calculation", "sum"})


def plan(conversation: Conversation) -> tuple[Call, ...]:
    """Return the tool calls that a conversation asks for now; none when it is time to answer."""
    choice = conversation.choice
    message = conversation.question[:_READ]
    tool = _chosen(conversation, message)
    if choice.mode == "none" or tool is None:
        return ()
    made = [call for turn in conversation.since_question for call in turn.calls]
    wanted = [Call(tool.name, arguments) for arguments in fill(tool, message)]
    open_calls = [call for call in wanted if not _was_made(call, made)]
    return tuple(open_calls if choice.parallel else open_calls[:1])


def _was_made(call: Call, made: Iterable[Call]) -> bool:
    return any(call.name == old.name and call.arguments == old.arguments for old in made)


def _chosen(conversation: Conversation, message: str) -> Tool | None:
    choice = conversation.choice
    tools = [tool for tool in conversation.tools if choice.name in (None, tool.name)]
    if not tools:
        return None
    scores = [_score(tool, message) for tool in tools]
    best = max(range(len(tools)), key=scores.__getitem__)
    must = choice.mode == "required"
    return tools[best] if must or scores[best] >= _ENOUGH else None


def _score(tool: Tool, message: str) -> int:
    said = _words(message)
    properties = _properties(tool)
    points = _ENOUGH * len(said & _words(tool.name))
    points += len(said & (_words(tool.description) | _words(" ".join(properties))))
    if _EXPRESSION_NAMES & {name.lower() for name in properties} and expressions(message):
        points += _ENOUGH + 1
    return points


def _properties(tool: Tool) -> Mapping[str, Any]:
    properties = tool.parameters.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _words(text: str) -> set[str]:
    found = (word.lower() for word in _WORD.findall(text))
    return {word.removesuffix("s") for word in found if len(word) > 1 and word not in _COMMON}
