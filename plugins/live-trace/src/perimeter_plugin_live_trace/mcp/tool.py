"""What a tool of the MCP server is, and how it is called."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs
import msgspec

from perimeter_plugin_live_trace.api.limits import BadCursor, fitting
from perimeter_plugin_live_trace.store import Reader, StoreError, TooSlow
from perimeter_plugin_live_trace.web.page import NotFound, Site


_log = logging.getLogger(__name__)

MOST_TEXT = 4096
"""Characters of one text in an answer."""
MOST_BYTES = 256 * 1024
"""Bytes of an answer: assistants pay for every one of them."""


class ToolProblem(Exception):
    """A tool can't do what it was asked; the message says why, for the model that asked."""


@attrs.frozen
class Here:
    """
    What tools work with.

    Attributes:
        reader: The database.
        site: What the dashboard knows of itself.
        clock: Tells the time, seconds of Unix time.
    """

    reader: Reader
    site: Site
    clock: Callable[[], float] = time.time

    @property
    def now_us(self) -> int:
        """The time."""
        return int(self.clock() * 1_000_000)


class Arguments(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a tool is given. Names that no tool knows are refused, or typing errors would pass."""


_Given = TypeVar("_Given", bound=Arguments)


@attrs.frozen
class Tool(Generic[_Given]):
    """
    A tool.

    Attributes:
        name: For programs.
        title: For people.
        description: Tells a model when to use it and what it returns.
        arguments: What it takes; the input schema is made from it.
        answer: Runs in a thread; returns JSON values.
    """

    name: str
    title: str
    description: str
    arguments: type[_Given]
    answer: Callable[[Here, _Given], dict[str, Any]]

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        _, parts = msgspec.json.schema_components([self.arguments])
        found = dict(parts[self.arguments.__name__])
        found.pop("title", None)
        found.pop("description", None)
        return found

    def call(self, here: Here, given: Mapping[str, Any]) -> dict[str, Any]:
        """
        Answer.

        Raises:
            ToolProblem: It can't.
        """
        try:
            arguments = msgspec.convert(dict(given), self.arguments, strict=False)
        except msgspec.ValidationError as error:
            raise ToolProblem(f"{self.name}: {error}") from None
        return answered(self.name, lambda: self.answer(here, arguments))


def answered(name: str, answer: Callable[[], Any]) -> dict[str, Any]:
    """
    Return what a tool answers, as JSON values of a bounded size.

    Raises:
        ToolProblem: It can't answer; the message says why, and never how the code looks.
    """
    try:
        value = msgspec.to_builtins(answer(), str_keys=True)
    except (NotFound, BadCursor) as error:
        raise ToolProblem(str(error)) from None
    except TooSlow:
        raise ToolProblem("it takes too long: ask for a shorter time, or for less") from None
    except StoreError as error:
        raise ToolProblem(str(error)) from None
    except ToolProblem:
        raise
    except Exception as error:
        _log.exception("the MCP tool %s failed", name)
        raise ToolProblem("the tool failed; the log of live trace has the details") from error
    bounded = fitting(value, MOST_BYTES, MOST_TEXT)
    return bounded if isinstance(bounded, dict) else {"result": bounded}
