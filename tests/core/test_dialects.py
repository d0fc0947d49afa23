"""Whose path it is, and what the proxy says in each provider's own words."""

from __future__ import annotations

import json
import re

import attrs
import pytest
from openai.types.responses import ResponseFailedEvent

from perimeter.dialects import (
    RAW,
    SHARED_PATHS,
    UPSTREAM_TYPES,
    AnthropicMessages,
    Dialect,
    DialectTable,
    OpenAIChat,
    is_shared,
    to_json,
)
from perimeter.framing import cutter, parse_sse


DIALECTS = {each.name: each for kind in UPSTREAM_TYPES.values() for each in kind.dialects}
TABLE = DialectTable(list(DIALECTS.values()))
VERTEX = "/v1beta1/projects/p-1/locations/global/publishers/google/models/gemini-3-pro"

PATHS = {
    "openai.chat": [
        "/v1/chat/completions",
        "/chat/completions",
        "/v1/chat/completions/",
        "/openai/v1/chat/completions",
        "/api/v1/chat/completions",
        "/openai/deployments/gpt%2D4o/chat/completions",
        "/v1beta/openai/chat/completions",
        "/api/v2/cortex/v1/chat/completions",
        "/client/v4/accounts/a1/ai/v1/chat/completions",
        "/serving-endpoints/chat/completions",
    ],
    "openai.responses": ["/v1/responses", "/responses", "/openai/responses", "/api/v1/responses"],
    "openai.embeddings": [
        "/v1/embeddings",
        "/openai/deployments/e-3/embeddings",
        "/api/v1/embeddings",
    ],
    "openai.completions": [
        "/v1/completions",
        "/completions",
        "/beta/completions",
        "//openai/deployments/d/completions",
    ],
    "anthropic.messages": ["/v1/messages", "/messages", "/anthropic/v1/messages", "/v1/messages/"],
    "anthropic.count_tokens": ["/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens"],
    "gemini.generate": [
        "/v1beta/models/gemini-3-pro:generateContent",
        "/v1/models/gemini-3-pro:generateContent",
        "/v1beta/models/gemini-3-pro%3AgenerateContent",
        "/v1beta/tunedModels/mine:generateContent",
        "/v1/publishers/google/models/gemini-3-pro:generateContent",
        VERTEX + ":generateContent",
        "/v1/projects/p-1/locations/europe-west4/endpoints/42:generateContent",
    ],
    "gemini.stream": [
        "/v1beta/models/gemini-3-pro:streamGenerateContent",
        VERTEX + ":streamGenerateContent",
    ],
    "ollama.chat": ["/api/chat", "/ollama/api/chat"],
    "ollama.generate": ["/api/generate"],
    "raw": [
        "/",
        "",
        "/v1/threads/thread_1/messages",
        "/v1/threads/messages",
        "/v1/messages/batches",
        "/v1/chat/completions/chatcmpl_1",
        "/v1/chat/completionsx",
        "/v1%2Fchat%2Fcompletions",
        "/v1/responses/resp_1/cancel",
        "/v1/responses/compact",
        "/api/embeddings",
        "/v1/fim/completions",
        "/v1/prompts/pp-1/completions",
        "/v1/audio/transcriptions",
        "/v1/models",
        "/v1beta/models/gemini-3-pro:countTokens",
        "/v1internal:generateContent",
        "/model/anthropic.claude-v1%3A0/invoke",
        "/model/amazon.nova/converse-stream",
        "/v1/projects/p/locations/l/publishers/anthropic/models/claude:streamRawPredict",
        "/v2/chat",
        "/api/tags",
        "/v1/chat/completions\n",
    ],
}


@pytest.mark.parametrize(
    ("name", "path"), [(n, path) for n, paths in PATHS.items() for path in paths]
)
def test_paths(name, path):
    """Each path leads to its dialect, whatever a compatible server puts in front of it."""
    assert TABLE.match("POST", path).name == name


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "post"])
def test_methods(path, method):
    """A dialect is a method and a path: listing stored completions is no completion."""
    assert TABLE.match(method, path) is RAW
    assert TABLE.match("POST", path) is not RAW


def test_every_dialect_is_covered_and_at_home():
    """The tests know all dialects; names are unique and go by their type."""
    assert set(PATHS) == {*DIALECTS, "raw"}
    for kind in UPSTREAM_TYPES.values():
        assert {each.upstream_type for each in kind.dialects} <= {kind.name}
        assert all(each.name.startswith(f"{kind.name}.") for each in kind.dialects)
        assert kind.fallback.name == "raw"
        assert kind.credential_header in kind.credential_headers


OWNED = {
    "openai": [
        "/v1/assistants",
        "/v1/audio/transcriptions",
        "/v1/threads/thread_1/messages",
        "/v1/chat/completions/chatcmpl_1",
        "/v1/responses/resp_1",
        "/v1/images/generations",
        "/v1/batches/batch_1",
        "/v1/vector_stores",
        "/v1/realtime/client_secrets",
        "/v1/fine_tuning/jobs",
        "/v1/projects/proj_1/groups",
        "/openai/deployments",
        "/openai/v1/models",
    ],
    "anthropic": [
        "/v1/messages/batches",
        "/v1/messages/batches/msgbatch_1/results",
        "/v1/complete",
        "/v1/organizations/me",
        "/anthropic/v1/models",
    ],
    "gemini": [
        "/v1beta/models",
        "/v1beta/files/f-1",
        "/v1alpha/authTokens",
        "/upload/v1beta/files",
        "/v1/models/gemini-3-pro:countTokens",
        "/v1/models/gemini-3-pro%3acountTokens",
        "/v1/projects/p/locations/l/publishers/google/models/m:predict",
        VERTEX + ":countTokens",
    ],
    "ollama": ["/api/tags", "/api/show", "/api/blobs/sha256:00", "/api/embeddings", "/api/version"],
    "": [
        "/v1/models",
        "/v1/files/file-1",
        "/v1/messagesx",
        "/v1/chat",
        "/api/v1/models",
        "/api/tagsx",
        "/v2/rerank",
        "/model/m/converse",
        "/x/v1/assistants",
        "/",
    ],
}


@pytest.mark.parametrize(
    ("owner", "path"), [(o, path) for o, paths in OWNED.items() for path in paths]
)
def test_other_paths_have_one_owner(owner, path):
    """What no dialect covers belongs to exactly one type, or to none."""
    owners = [name for name, kind in UPSTREAM_TYPES.items() if kind.owns.search(path)]

    assert owners == ([owner] if owner else [])


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/skills"])
def test_shared_paths(path):
    """Several providers have these and what is below them."""
    assert is_shared(path)
    assert is_shared(path + "/x%2Fy/content")
    assert not is_shared(path + "x")
    assert not is_shared("/v1beta" + path)
    assert SHARED_PATHS.search(path)


def test_models_with_colons():
    """A fine-tuned model's id has colons; a Gemini action is told from it by its name."""
    assert is_shared("/v1/models/ft:gpt-4o:org::id")
    assert not is_shared("/v1/models/gemini-3-pro:generateContent")


def test_shared_paths_are_nobodys():
    """What is shared is owned by no type and covered by no dialect."""
    for path in ("/v1/models", "/v1/models/m-1", "/v1/files", "/v1/skills/s-1"):
        assert TABLE.match("POST", path) is RAW
        assert not any(kind.owns.search(path) for kind in UPSTREAM_TYPES.values())


@pytest.mark.parametrize(
    ("kind", "field", "taken", "query"),
    [
        ("openai", (b"authorization", b"Bearer "), {b"authorization", b"api-key"}, ()),
        ("anthropic", (b"x-api-key", b""), {b"x-api-key", b"authorization"}, ()),
        ("gemini", (b"x-goog-api-key", b""), {b"x-goog-api-key", b"authorization"}, ("key",)),
        ("ollama", (b"authorization", b"Bearer "), {b"authorization"}, ()),
        ("raw", (b"authorization", b"Bearer "), {b"authorization"}, ()),
    ],
)
def test_credentials(kind, field, taken, query):
    """The key goes where the provider wants it, and the client's are known by every name."""
    found = UPSTREAM_TYPES[kind]

    assert (found.credential_header, found.credential_prefix) == field
    assert taken <= set(found.credential_headers)
    assert found.credential_query == query


def strings(value: object) -> list[object]:
    """Return all values inside a document."""
    if isinstance(value, dict):
        return [each for item in value.values() for each in strings(item)]
    return [value]


NASTY = 'a "quoted"\nline, ü, \ud800 and \u2028'


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), RAW], ids=lambda dialect: dialect.name)
def test_any_text_can_be_said(dialect):
    """Errors and endings are ASCII and one line of JSON whatever they say, lone surrogates too."""
    error, ending = dialect.error(502, NASTY, "c"), dialect.end_stream(NASTY)

    assert NASTY in strings(json.loads(error))
    for said in (error, *(line for line in ending.splitlines() if b"quoted" in line)):
        assert said.isascii()
        assert b"\n" not in said
        assert NASTY in strings(json.loads(said.removeprefix(b"data: ")))


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "ollama", "raw"])
def test_a_fallback_speaks_like_its_provider_and_never_ends_streams(kind):
    """Unknown paths get the provider's errors; of their streams nobody knows the language."""
    found = UPSTREAM_TYPES[kind]

    assert found.fallback.end_stream("why") == b""
    for dialect in found.dialects:
        assert found.fallback.error(404, "m", "c") == dialect.error(404, "m", "c")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "requests"),
        (500, "server_error"),
        (504, "server_error"),
    ],
)
def test_openai_errors(status, kind):
    """OpenAI: message, type, param and code inside `error`."""
    assert json.loads(DIALECTS["openai.chat"].error(status, "No.", "because")) == {
        "error": {"message": "No.", "type": kind, "param": None, "code": "because"}
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_anthropic_errors(status, kind):
    """Anthropic: a type that goes by the status."""
    assert json.loads(DIALECTS["anthropic.messages"].error(status, "No.", "because")) == {
        "type": "error",
        "error": {"type": kind, "message": "No."},
    }


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (413, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (502, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
        (599, "INTERNAL"),
    ],
)
def test_gemini_errors(status, name):
    """Gemini: the status as a number and by its google.rpc name."""
    assert json.loads(DIALECTS["gemini.stream"].error(status, "No.", "because")) == {
        "error": {"code": status, "message": "No.", "status": name}
    }


def test_ollama_and_raw_errors():
    """Ollama gives the message alone; where nobody knows the shape it is the common one."""
    assert json.loads(DIALECTS["ollama.chat"].error(502, "No.", "because")) == {"error": "No."}
    for status, kind in ((403, "invalid_request_error"), (502, "server_error")):
        assert json.loads(RAW.error(status, "No.", "because")) == {
            "error": {"message": "No.", "type": kind, "code": "because"}
        }


@pytest.mark.parametrize(
    ("name", "framing"),
    [
        ("openai.chat", "sse"),
        ("openai.completions", "sse"),
        ("openai.responses", "sse"),
        ("anthropic.messages", "sse"),
        ("gemini.stream", "sse"),
        ("ollama.chat", "ndjson"),
        ("ollama.generate", "ndjson"),
    ],
)
def test_an_ending_is_one_event_with_an_error(name, framing):
    """What ends a stream is one whole event, says why, and never looks like a good end."""
    ending = DIALECTS[name].end_stream("Enough of this.")
    subject = cutter(framing)

    assert subject.feed(ending) == [ending]
    assert subject.pending == 0
    assert b"Enough of this." in ending
    assert b"[DONE]" not in ending
    line = ending.partition(b"data: ")[2] if framing == "sse" else ending
    assert json.loads(line)["error"]


@pytest.mark.parametrize("name", ["openai.embeddings", "anthropic.count_tokens", "gemini.generate"])
def test_what_does_not_stream_has_no_ending(name):
    """Nothing can be appended to a document."""
    assert DIALECTS[name].end_stream("why") == b""
    assert RAW.end_stream("why") == b""


def test_the_failed_response_is_complete():
    """It validates strictly as the SDK's own model of that event."""
    name, data = parse_sse(DIALECTS["openai.responses"].end_stream("Enough."))
    event = ResponseFailedEvent.model_validate_json(data)

    assert name in {"response.failed", b"response.failed"}
    assert event.type == "response.failed"
    assert event.response.status == "failed"
    assert event.response.error.code == "server_error"
    assert event.response.error.message == "Enough."


# -- dialects of plugins


@attrs.frozen
class Acme(Dialect):
    """A dialect of somebody else's."""

    realm: str = "acme"

    def end_stream(self, reason: str) -> bytes:
        return to_json({self.realm: reason}) + b"\n"


def test_a_dialect_of_a_plugin():
    """A subclass overrides what is different, may have fields, and finds its place in a table."""
    talk = Acme("acme.talk", "raw", re.compile(r"/talk\Z"), frozenset({"PUT"}))
    chat = OpenAIChat("acme.chat", "openai", re.compile(r"/v3/chat\Z"))
    renamed = attrs.evolve(DIALECTS["anthropic.messages"], name="acme.messages")
    table = DialectTable([talk, chat, renamed])

    assert table.match("PUT", "/x/talk") is talk
    assert table.match("POST", "/v3/chat") is chat
    assert table.match("POST", "/v1/messages").name == "acme.messages"
    assert isinstance(renamed, AnthropicMessages)
    assert talk.end_stream("no") == b'{"acme":"no"}\n'
    assert json.loads(talk.error(500, "m", "c"))["error"]["message"] == "m"


def test_the_first_dialect_that_fits_is_taken():
    """Order decides, so that a plugin's come before the built-in ones."""
    mine = OpenAIChat("acme.chat", "openai", re.compile(r"/chat/completions\Z"))

    assert DialectTable([mine, *DIALECTS.values()]).match("POST", "/v1/chat/completions") is mine
    assert (
        DialectTable([*DIALECTS.values(), mine]).match("POST", "/v1/chat/completions") is not mine
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (None, "raw", re.compile("x")),
        ("n", "raw", "a pattern that was not compiled"),
        ("n", "raw", re.compile("x"), {"POST"}),
    ],
)
def test_a_dialect_that_can_not_work_is_refused(arguments):
    """A mistake shows when the dialect is made, not at the first request."""
    with pytest.raises(TypeError):
        Dialect(*arguments)


class Counting:
    """A pattern that counts how often it is searched for."""

    def __init__(self) -> None:
        self.searches = 0

    def search(self, path: str) -> object:
        self.searches += 1
        return path.startswith("/a") or None


def table_that_counts() -> tuple[DialectTable, Counting]:
    """Return a table of one dialect, and the pattern that counts its look-ups."""
    pattern = Counting()
    dialect = Dialect("a.b", "raw", re.compile("x"))
    object.__setattr__(dialect, "pattern", pattern)
    return DialectTable([dialect]), pattern


def test_paths_are_remembered():
    """A path is looked up once per method, also one that leads to nothing."""
    table, pattern = table_that_counts()

    found = {table.match("POST", path).name for path in ("/a", "/b") * 5}

    assert found == {"a.b", "raw"}
    assert pattern.searches == 2
    assert table.match("GET", "/a") is RAW


def test_memory_for_paths_is_bounded():
    """Ever new paths and long ones can't fill the memory, and stay right."""
    table, pattern = table_that_counts()

    for number in range(5000):
        assert table.match("POST", f"/a/{number}").name == "a.b"
        assert len(table._known) <= 1024
    searches = pattern.searches
    for _ in range(3):
        assert table.match("POST", "/a" + "x" * 60_000).name == "a.b"

    assert searches == 5000
    assert pattern.searches == 5003
    assert max(len(path) for _, path in table._known) < 1000


@pytest.mark.parametrize("unit", ["/models/a", "/models/", "/deployments/x", "/api", ":generate"])
def test_long_paths_are_no_trap(unit):
    """A path made to be slow to match is matched in steps that grow with its length only."""
    path = unit * (60_000 // len(unit))

    assert TABLE.match("POST", path) is RAW
    assert not is_shared(path)
    assert not any(kind.owns.search(path) for kind in UPSTREAM_TYPES.values())
