"""
What plugins add to the dashboard: pages, background jobs, kinds of record and MCP tools.

A plugin's hook `dashboard()` returns an `Extension`, which names a function. The plugin that shows
the dashboard calls that function in the dashboard's own process and gets a `Contribution`. Pages
are made of blocks and never of HTML: what they show may have been written by a model.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import attrs


Tone = Literal["", "ok", "muted", "low", "medium", "high", "critical"]
Params = Mapping[str, str]


@attrs.frozen
class Extension:
    """
    How a plugin's contribution is made in another process.

    Attributes:
        factory: `package.module:function`; it gets the options and returns a `Contribution`.
        options: JSON values, such as the plugin's own configuration.
    """

    factory: str
    options: Mapping[str, Any] = attrs.field(factory=dict)

    def load(self) -> Contribution:
        """
        Make the contribution.

        Raises:
            Exception: Whatever importing and calling the factory raises.
        """
        module, _, name = self.factory.partition(":")
        made = getattr(importlib.import_module(module), name)(self.options)
        if not isinstance(made, Contribution):
            raise TypeError(f"{self.factory} returned {type(made).__name__}, no Contribution")
        return made


@attrs.frozen
class Record:
    """
    A stored record of some kind.

    Attributes:
        key: Unique among those of its kind.
        body: JSON values.
        session: The session it belongs to, or "".
        agent: The agent it belongs to, or "".
        changed_at: Unix time, seconds.
    """

    key: str
    body: Mapping[str, Any]
    session: str = ""
    agent: str = ""
    changed_at: float = 0.0


class Records(Protocol):
    """What pages, jobs and tools can read and keep. Every method may be slow; none is async."""

    def get(self, kind: str, key: str) -> Record | None:
        """Return a record."""

    def find(self, kind: str, *, session: str = "", limit: int = 100) -> Sequence[Record]:
        """Return the records of a kind that were changed last, newest first."""

    def put(self, kind: str, record: Record) -> None:
        """Keep a record, in place of the one with its key."""

    def delete(self, kind: str, key: str) -> None:
        """Delete a record, if it is there."""

    def events(
        self, session: str, *, after: int = 0, limit: int = 200
    ) -> Sequence[Mapping[str, Any]]:
        """Return events of a session as JSON values, with `seq`, in order, from after a `seq`."""

    def sessions(self, *, after: float = 0.0, limit: int = 100) -> Sequence[str]:
        """Return ids of sessions that something happened in after a time, oldest change first."""


@attrs.frozen
class Heading:
    """Begins a part of a page."""

    text: str


@attrs.frozen
class Text:
    """A paragraph, shown as it is."""

    text: str


@attrs.frozen
class Notice:
    """Something to be seen first."""

    text: str
    tone: Tone = ""


@attrs.frozen
class Facts:
    """A strip of figures: label and value."""

    facts: Sequence[tuple[str, str]]


@attrs.frozen
class Link:
    """A cell that leads to another page of the dashboard: a path such as `/sessions/abc`."""

    text: str
    href: str


Cell = str | int | float | Link | None


@attrs.frozen
class Table:
    """A table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""


Block = Heading | Text | Notice | Facts | Table


@attrs.frozen
class Page:
    """
    A page at `/x/<plugin>/<path>`.

    Attributes:
        path: Lower-case letters, digits, dashes and slashes; "" for the plugin's first page.
        title: In the heading, and in the menu where `in_menu` says so.
        content: Returns what is on it, from the records and the query's parameters.
        in_menu: Whether the menu shows it.
    """

    path: str
    title: str
    content: Callable[[Records, Params], Sequence[Block]]
    in_menu: bool = True


@attrs.frozen
class Job:
    """
    Something done again and again in the dashboard's process.

    Attributes:
        name: For the log.
        seconds: Between the end of one run and the begin of the next.
        run: What to do; it runs in a thread.
    """

    name: str
    seconds: float
    run: Callable[[Records], None]


@attrs.frozen
class Kind:
    """A kind of record: its name, with the plugin's in front (`security.report`), and its title."""

    name: str
    title: str


@attrs.frozen
class Tool:
    """
    An MCP tool.

    Attributes:
        name: Unique among all tools.
        description: For the model that uses it.
        schema: JSON schema of its arguments, an object.
        call: Returns JSON values; an exception's message goes to the model.
    """

    name: str
    description: str
    schema: Mapping[str, Any]
    call: Callable[[Records, Mapping[str, Any]], Any]


@attrs.frozen
class Contribution:
    """What one plugin adds."""

    pages: Sequence[Page] = ()
    jobs: Sequence[Job] = ()
    kinds: Sequence[Kind] = ()
    tools: Sequence[Tool] = ()
