"""
What clients say about themselves in headers.

The names of other products' headers are as their documentation or source has them; the place is
named beside each. Only such ones are here that stay the same for a whole execution. Those that
stand for one turn or one trace (`x-litellm-trace-id`, `x-portkey-trace-id`, `langsmith-trace`)
would tear a conversation apart, since a session never moves from one run to another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs
import msgspec

from perimeter.verdicts import Headers


MAX_ID = 256
"""Most characters of an id."""
MAX_TAGS = 50
MAX_TAG_KEY = 64
"""Most characters of a tag's key; a tag with a longer one is left out."""
MAX_TAG_VALUE = 512
"""Most characters of a tag's value; what is longer is cut."""
MAX_TAG_ENTRIES = 200
"""Most entries of the header that are looked at, repeated and empty ones included."""
MAX_USER_ID = 4096
"""Most characters of a `metadata.user_id` that is searched for a session."""

# A name of the family comes first, its alias right after it.
_SESSION = (
    b"x-cylestio-conversation-id",
    b"x-perimeter-conversation-id",
    b"x-cylestio-session-id",
    b"x-perimeter-session-id",
)
_AGENT = (
    b"x-cylestio-prompt-id",
    b"x-perimeter-prompt-id",
    b"x-cylestio-agent-id",
    b"x-perimeter-agent-id",
)
_TAGS = (b"x-cylestio-tags", b"x-perimeter-tags")
_GROUP = b"x-cylestio-session-id"
_RUN = (
    _GROUP,
    # Claude Code 2.1.86 and later, sub-agents included: its release notes, and
    # code.claude.com/docs/en/llm-gateway-protocol
    b"x-claude-code-session-id",
    # Codex CLI: the root's id, which its sub-agents send too (they differ in `thread-id`):
    # github.com/openai/codex, pull request 22193; older versions had an underscore, and a copy
    # in `conversation_id` until pull request 9107
    b"session-id",
    b"session_id",
    b"conversation_id",
    # docs.helicone.ai/features/sessions
    b"helicone-session-id",
    # OpenCode: a sub-agent has an id of its own in `x-session-id` and names its parent, whose id is
    # the run: github.com/anomalyco/opencode, pull requests 12932 and 20744, issue 42694
    b"x-parent-session-id",
    # OpenCode, for its own gateway: opencode.ai/docs/go
    b"x-opencode-session",
    # OpenCode as above; also OpenRouter: openrouter.ai/docs/guides/features/broadcast/overview
    b"x-session-id",
    b"x-session-affinity",
    # docs.litellm.ai/docs/proxy/request_headers
    b"x-litellm-session-id",
)
# Sent with each attempt by the official SDKs of OpenAI and Anthropic, "0" with the first one.
_RETRY = b"x-stainless-retry-count"
_TRACE = b"traceparent"

_IDS = frozenset({*_SESSION, *_AGENT, *_RUN})
_KNOWN = _IDS | {*_TAGS, _RETRY, _TRACE}

# www.w3.org/TR/trace-context: ids of zeros only and version ff are invalid; versions after 00 may
# have more parts.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)

# Claude Code before 2.1.78: `user_<digest>_account_<uuid or nothing>_session_<uuid>`.
_CLAUDE_USER = re.compile(r"user_[0-9a-f]{8,}_account_[0-9a-f-]*_session_([0-9A-Za-z-]{8,})")


@attrs.frozen
class Labels:
    """
    What the headers of a request say about its sender.

    Attributes:
        session_id: As it was sent, "" for none.
        agent_id: As it was sent, "" for none.
        tags: By key.
        run_id: Of the execution that the session belongs to with others, "" for none.
        retry: Whether the client says that it repeats a failed attempt.
        traceparent: Trace id and parent id in hexadecimal digits, None for no valid one.
        problems: What was ignored and why; names headers, never quotes a value.
    """

    session_id: str = ""
    agent_id: str = ""
    tags: Mapping[str, str] = attrs.field(factory=dict)
    run_id: str = ""
    retry: bool = False
    traceparent: tuple[str, str] | None = None
    problems: tuple[str, ...] = ()


NOTHING = Labels()
"""What most requests say."""


def labels_of(headers: Headers) -> Labels:
    """
    Read the labels of a request. Nothing in a header makes this fail.

    Args:
        headers: As the client sent them, names lower-case. The first of a repeated header counts.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _KNOWN:
            found.setdefault(name, value)
    if not found or (len(found) == 1 and found.get(_RETRY) == b"0"):
        return NOTHING
    return _Reader(found).labels()


def run_of_metadata(user_id: str) -> str:
    """
    Return the id of Claude Code's session in the body's `metadata.user_id`, or "".

    Until version 2.1.78 it stood at the end of a string, since then the string is a JSON object
    with a `session_id` (github.com/ding113/claude-code-hub, pull request 939). It is what
    `x-claude-code-session-id` says, for versions that do not send that header.
    """
    if len(user_id) > MAX_USER_ID:
        return ""
    if user_id.startswith("{"):
        try:
            found = msgspec.json.decode(user_id, type=_ClaudeUser).session_id
        except (msgspec.DecodeError, ValueError, RecursionError):
            return ""
        return found if is_id(found) else ""
    match = _CLAUDE_USER.fullmatch(user_id)
    return match[1] if match and is_id(match[1]) else ""


def is_id(text: str) -> bool:
    """Whether this may be an id: 1 to 256 printable characters."""
    return 0 < len(text) <= MAX_ID and text.isprintable()


class _ClaudeUser(msgspec.Struct):
    session_id: str = ""


class _Reader:
    """Reads labels from the headers that matter, and notes what it can't use."""

    def __init__(self, found: Mapping[bytes, bytes]) -> None:
        self._found = found
        self._problems: list[str] = []
        self._ids = {name: self._id(name) for name in found if name in _IDS}

    def labels(self) -> Labels:
        """Return all labels."""
        return Labels(
            session_id=self._first(_SESSION),
            agent_id=self._first(_AGENT),
            tags=self._tags(),
            run_id=self._first(_RUN),
            retry=self._retry(),
            traceparent=self._traceparent(),
            problems=tuple(self._problems),
        )

    def _first(self, names: Iterable[bytes]) -> str:
        return next((value for name in names if (value := self._ids.get(name))), "")

    def _id(self, name: bytes) -> str:
        """Return a valid id, or "" for one that is empty (as from an unset variable) or invalid."""
        text = self._text(name)
        if len(text) > MAX_ID:
            self._note(name, f"longer than {MAX_ID} characters")
        elif not text.isprintable():
            self._note(name, "has characters that can't be printed")
        else:
            return text
        return ""

    def _text(self, name: bytes) -> str:
        try:
            return self._found[name].decode().strip(" \t")
        except UnicodeDecodeError:
            self._note(name, "not UTF-8")
            return ""

    def _tags(self) -> dict[str, str]:
        group = self._ids.get(_GROUP)
        # It is in before the others, so that 50 of them do not push it out.
        tags = {"session": group} if group else {}
        name = next((name for name in _TAGS if name in self._found), None)
        if name is None:
            return tags
        entries = self._text(name).split(",", MAX_TAG_ENTRIES)
        if len(entries) > MAX_TAG_ENTRIES:
            entries.pop()
            self._note(name, f"more than {MAX_TAG_ENTRIES} entries")
        for problem in sorted({_add_tag(tags, entry) for entry in entries} - {""}):
            self._note(name, problem)
        return tags

    def _retry(self) -> bool:
        value = self._found.get(_RETRY, b"").strip(b" \t")
        if value and not value.isdigit():
            self._note(_RETRY, "not a number")
            return False
        return bool(value.strip(b"0"))

    def _traceparent(self) -> tuple[str, str] | None:
        value = self._found.get(_TRACE, b"").strip(b" \t")
        match = _TRACEPARENT.fullmatch(value)
        if match and not (match[3] and value.startswith(b"00")):
            return match[1].decode(), match[2].decode()
        if value:
            self._note(_TRACE, "not a W3C trace context")
        return None

    def _note(self, name: bytes, problem: str) -> None:
        self._problems.append(f"{name.decode()}: {problem}")


def _add_tag(tags: dict[str, str], entry: str) -> str:
    """Add one entry, which is `key:value` or `key`; return what is wrong with it, or ""."""
    key, colon, value = (part.strip() for part in entry.partition(":"))
    if not key:
        return ""
    if len(key) > MAX_TAG_KEY:
        return f"a key longer than {MAX_TAG_KEY} characters"
    if not (key.isprintable() and value.isprintable()):
        return "a tag with characters that can't be printed"
    if len(tags) >= MAX_TAGS and key not in tags:
        return f"more than {MAX_TAGS} tags"
    tags[key] = value[:MAX_TAG_VALUE] if colon else "true"
    return (
        f"a value longer than {MAX_TAG_VALUE} characters, cut" if len(value) > MAX_TAG_VALUE else ""
    )
