"""A recorded request becomes a form, and a form a request."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter_plugin_live_trace.replay.differences import differences
from perimeter_plugin_live_trace.replay.draft import (
    BadDraft,
    Draft,
    draft_of,
    request_of,
    shape_of,
    system_role,
)
from perimeter_plugin_live_trace.replay.sending import Credentials, NotSent, Target
from perimeter_plugin_live_trace.store.known import built_in


CHAT = {
    "model": "gpt-4.1",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    "tools": [{"type": "function", "function": {"name": "look"}}],
    "temperature": 0.2,
}
BODIES = {
    "openai.chat": CHAT,
    "openai.responses": {"model": "o4-mini", "instructions": "Be brief.", "input": "Hi"},
    "openai.completions": {"model": "davinci", "prompt": "Once upon", "max_tokens": 5},
    "anthropic.messages": {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "Hi"}],
    },
    "gemini.generate": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "generationConfig": {"temperature": 0.2},
    },
    "ollama.chat": {"model": "llama", "messages": [{"role": "user", "content": "Hi"}]},
    "ollama.generate": {"model": "llama", "prompt": "Hi", "system": "Be brief."},
}  # fmt: skip
PATHS = {"gemini.generate": "/v1beta/models/gemini-2.5-pro:generateContent"}


@pytest.mark.parametrize("dialect", BODIES)
def test_an_unchanged_form_is_the_same_request(dialect):
    """What is not edited is sent as it was, but for the stream."""
    shape, path = shape_of(dialect), PATHS.get(dialect, "/v1/x")
    body = json.dumps({**BODIES[dialect], **({"stream": True} if shape.stream else {})}).encode()
    draft = draft_of(shape, body, path)
    request = request_of(shape, draft, path, system_role(body))

    sent = json.loads(request.body)
    assert sent == {**BODIES[dialect], **({"stream": False} if shape.stream else {})}
    assert request.path == path
    assert draft.changed(draft) == []


def test_the_form_has_what_people_edit():
    """Model, system prompt, messages, tools and the rest are apart."""
    draft = draft_of(shape_of("openai.chat"), json.dumps(CHAT).encode(), "/v1/chat/completions")

    assert draft.model == "gpt-4.1"
    assert draft.system == "Be brief."
    assert json.loads(draft.messages) == [{"role": "user", "content": "Hi"}]
    assert json.loads(draft.tools)[0]["function"]["name"] == "look"
    assert json.loads(draft.parameters) == {"temperature": 0.2}


def test_edits_arrive():
    """What is typed is what is sent, also the removal of system prompt and tools."""
    shape = shape_of("openai.chat")
    draft = draft_of(shape, json.dumps(CHAT).encode(), "")
    typed = Draft("gpt-4.1-mini", "", '[{"role": "user", "content": "Bye"}]', "", '{"seed": 7}')
    sent = json.loads(request_of(shape, typed, "").body)

    assert sent == {
        "model": "gpt-4.1-mini",
        "messages": [{"role": "user", "content": "Bye"}],
        "seed": 7,
        "stream": False,
    }
    assert typed.changed(draft) == ["model", "system", "messages", "tools", "parameters"]


def test_a_developer_stays_one():
    """The system prompt goes back under the role it had."""
    body = json.dumps(
        {"model": "m", "messages": [{"role": "developer", "content": "Be brief."}]}
    ).encode()
    shape = shape_of("openai.chat")
    request = request_of(shape, draft_of(shape, body, ""), "", system_role(body))

    assert json.loads(request.body)["messages"][0]["role"] == "developer"


def test_a_model_in_the_path_changes_there():
    """Gemini's model is part of the path; a stream's path becomes that of a whole answer."""
    shape, path = shape_of("gemini.stream"), "/v1beta/models/gemini-2.5-pro:streamGenerateContent"
    draft = draft_of(shape, json.dumps(BODIES["gemini.generate"]).encode(), path)
    typed = Draft("gemini-2.5-flash", draft.system, draft.messages, draft.tools, draft.parameters)

    request = request_of(shape, typed, path)
    assert request.path == "/v1beta/models/gemini-2.5-flash:generateContent"
    for hostile in ("../../x", "a b", "m:other", "m/../..", "http://evil", ""):
        bad = Draft(hostile, draft.system, draft.messages, draft.tools, draft.parameters)
        with pytest.raises(BadDraft):
            request_of(shape, bad, path)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("messages", "nope"),
        ("messages", "{}"),
        ("messages", "[" * 5000),
        ("tools", "{}"),
        ("tools", "[1,"),
        ("parameters", "[]"),
        ("parameters", '{"a": NaN'),
        ("parameters", '{"a": ' + "9" * 5000 + "}"),
        ("model", " "),
    ],
)
def test_what_is_no_request_is_said(field, text):
    """Each mistake is told; nothing is sent."""
    fields = {"model": "m", "system": "", "messages": "[]", "tools": "", "parameters": "{}"}
    typed = Draft(**{**fields, field: text})

    with pytest.raises(BadDraft) as bad:
        request_of(shape_of("openai.chat"), typed, "")
    assert bad.value.problems


def test_a_body_that_is_no_json():
    """A form can't be made of garbage."""
    with pytest.raises(BadDraft):
        draft_of(shape_of("openai.chat"), b"\xff\x00", "")


def test_apis_without_a_form():
    """Embeddings and unknown APIs have none."""
    for name in ("openai.embeddings", "anthropic.count_tokens", "raw", "", "acme.talk"):
        assert shape_of(name) is None


@given(st.text(), st.text())
def test_differences_are_complete(first, second):
    """The parts of each text, put together, are the text."""
    spans = differences(first, second)

    assert "".join(span.text for span in spans if span.kind != "new") == first
    assert "".join(span.text for span in spans if span.kind != "gone") == second


def test_differences_are_those_of_words():
    """Only the word that changed is marked, and a megabyte does not take for ever."""
    spans = differences("the quick brown fox", "the slow brown fox")
    assert [(span.kind, span.text) for span in spans] == [
        *(("same", "the "), ("gone", "quick "), ("new", "slow "), ("same", "brown fox"))
    ]
    long = differences("a b " * 100_000, "b a " * 100_000)
    assert {span.kind for span in long} == {"gone", "new"}


@pytest.mark.parametrize(
    ("dialect", "query", "expected"),
    [
        ("gemini.generate", "key=secret&alt=sse&x=1", "?x=1"),
        ("openai.chat", "api-version=2024-10-21", "?api-version=2024-10-21"),
        ("openai.chat", "", ""),
    ],
)
def test_addresses_lead_through_the_proxy(dialect, query, expected):
    """The upstream is a name under the proxy's own path; no credential stays in the query."""
    target = Target("http://127.0.0.1:4000", "a/b", "team 1", built_in()[dialect], query)

    base = "http://127.0.0.1:4000/agent-workflow/team%201/-/to/a%2Fb/v1/x"
    assert target.url("/v1/x") == base + expected
    assert target.url("//evil.example/v1/x").startswith("http://127.0.0.1:4000/")


def test_credentials_are_not_shown():
    """Neither key nor token is in what a log would show of them."""
    assert "typed" not in repr(Credentials("typed-key", "typed-token"))
    for bad in ("a b", "ä", "x\r\ny", "k" * 5000):
        with pytest.raises(NotSent) as problem:
            Credentials(bad).check()
        assert bad not in str(problem.value)
