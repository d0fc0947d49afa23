"""What clients say about themselves in headers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perimeter.sessions.headers import NOTHING, Labels, labels_of, run_of_metadata


UUID = "123e4567-e89b-12d3-a456-426614174000"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
NAMES = [
    "x-cylestio-conversation-id",
    "x-cylestio-session-id",
    "x-cylestio-prompt-id",
    "x-cylestio-agent-id",
    "x-cylestio-tags",
    "x-perimeter-conversation-id",
    "x-perimeter-session-id",
    "x-perimeter-prompt-id",
    "x-perimeter-agent-id",
    "x-perimeter-tags",
    "x-claude-code-session-id",
    "session-id",
    "session_id",
    "conversation_id",
    "helicone-session-id",
    "x-parent-session-id",
    "x-opencode-session",
    "x-session-id",
    "x-session-affinity",
    "x-litellm-session-id",
    "x-stainless-retry-count",
    "traceparent",
]


def read(*fields: tuple[str, str | bytes]) -> Labels:
    """Return the labels of a request with these headers among others."""
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    for name, value in fields:
        headers.append((name.encode(), value if isinstance(value, bytes) else value.encode()))
    return labels_of(tuple(headers))


def tags(value: str | bytes) -> dict[str, str]:
    """Return the tags of a header's value."""
    return dict(read(("x-cylestio-tags", value)).tags)


def test_most_requests_say_nothing():
    """Without any of the headers there are no labels, and nothing is made."""
    assert read(("x-cylestio-other", "a"), ("x-request-id", "b")) is NOTHING
    assert read(("x-stainless-retry-count", "0")) is NOTHING
    assert labels_of(()) == Labels()


def test_precedence_of_sessions():
    """The conversation's id comes before the session's, the family before its alias."""
    names = ["x-cylestio-conversation-id", "x-perimeter-conversation-id"]
    names += ["x-cylestio-session-id", "x-perimeter-session-id"]
    fields = [(name, name.upper()) for name in names]
    while fields:
        assert read(*reversed(fields)).session_id == fields[0][1]
        fields.pop(0)


def test_precedence_of_agents():
    """The prompt's id comes before the agent's, the family before its alias."""
    names = ["x-cylestio-prompt-id", "x-perimeter-prompt-id"]
    names += ["x-cylestio-agent-id", "x-perimeter-agent-id"]
    fields = [(name, name.upper()) for name in names]
    while fields:
        assert read(*reversed(fields)).agent_id == fields[0][1]
        fields.pop(0)


def test_the_session_header_names_session_run_and_tag():
    """One header alone keeps its first meaning, and the later one is set as well."""
    labels = read(("x-cylestio-session-id", "s 1"))

    assert labels == Labels(session_id="s 1", run_id="s 1", tags={"session": "s 1"})


def test_the_session_header_groups_conversations():
    """With a conversation's id, the session's id is the run of several conversations."""
    labels = read(("x-cylestio-session-id", "run"), ("x-cylestio-conversation-id", "talk"))

    assert labels == Labels(session_id="talk", run_id="run", tags={"session": "run"})


def test_what_a_response_said_is_no_run():
    """A client that sends back `x-perimeter-session-id` names the session and nothing else."""
    assert read(("x-perimeter-session-id", "s")) == Labels(session_id="s")


@pytest.mark.parametrize(
    "name",
    [
        "x-claude-code-session-id",
        "session-id",
        "session_id",
        "conversation_id",
        "helicone-session-id",
        "x-opencode-session",
        "x-session-id",
        "x-session-affinity",
        "x-litellm-session-id",
    ],
)
def test_s25_clients_own_headers_are_the_run(name):
    """Ids that cover an agent and its sub-agents group sessions, and name none."""
    assert read((name, UUID)) == Labels(run_id=UUID)
    assert read((name, UUID), ("x-cylestio-session-id", "mine")).run_id == "mine"


def test_s25_sub_agents_of_opencode_are_in_the_run_of_their_parent():
    """A child session names its parent, whose own id is the run of both."""
    parent = read(("x-session-id", "ses_1"), ("x-session-affinity", "ses_1"))
    child = read(("x-session-id", "ses_2"), ("x-parent-session-id", "ses_1"))

    assert parent.run_id == child.run_id == "ses_1"


@pytest.mark.parametrize("name", ["x-litellm-trace-id", "x-portkey-trace-id", "langsmith-trace"])
def test_traces_are_no_runs(name):
    """What may change with each turn of a conversation does not group sessions."""
    assert read((name, UUID)) is NOTHING


def test_the_first_of_a_repeated_header_counts():
    """Later ones are as if they were not there."""
    assert read(("x-cylestio-agent-id", "one"), ("x-cylestio-agent-id", "two")).agent_id == "one"
    assert tags("a:1") == dict(
        read(("x-cylestio-tags", "a:1"), ("x-cylestio-tags", "b:2"), ("x-perimeter-tags", "c")).tags
    )
    assert dict(read(("x-perimeter-tags", "c:3")).tags) == {"c": "3"}


@pytest.mark.parametrize(
    "value", ["a", "x" * 256, "two words", "Zoë", "用户-1", "a/b?c=d&e#f", '"{}"', "é" * 256]
)
def test_s21_ids_are_taken_as_they_are(value):
    """One to 256 printable characters, in UTF-8."""
    labels = read(("x-cylestio-session-id", value), ("x-cylestio-agent-id", value))

    assert labels.session_id == labels.agent_id == labels.run_id == value
    assert labels.problems == ()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("x" * 257, "longer than 256 characters"),
        (b"x" * 60_000, "longer than 256 characters"),
        (b"a\x00b", "has characters that can't be printed"),
        (b"a\tb", "has characters that can't be printed"),
        ("a\u202eb", "has characters that can't be printed"),
        ("a\u2028b", "has characters that can't be printed"),
        (b"\x1b[31m", "has characters that can't be printed"),
        (b"Zo\xeb", "not UTF-8"),
        (b"\xed\xa0\x80", "not UTF-8"),
    ],
)
def test_s21_other_ids_are_ignored(value, why):
    """What can't be an id is left out, said without quoting it, and the next header counts."""
    labels = read(("x-cylestio-conversation-id", value), ("x-perimeter-session-id", "next"))

    assert labels == Labels(session_id="next", problems=(f"x-cylestio-conversation-id: {why}",))


def test_s21_a_problem_is_told_once():
    """A header that is on several lists is looked at once."""
    labels = read(("x-cylestio-session-id", "x" * 300))

    assert labels == Labels(problems=("x-cylestio-session-id: longer than 256 characters",))


def test_an_empty_header_says_nothing():
    """As of a client whose variable is not set."""
    assert read(("x-cylestio-session-id", ""), ("x-cylestio-agent-id", " ")) == Labels()
    assert read(("x-cylestio-tags", "")) == Labels()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("env:prod", {"env": "prod"}),
        ("env:prod,team:core", {"env": "prod", "team": "core"}),
        ("beta", {"beta": "true"}),
        ("env:prod,beta,team:core", {"env": "prod", "beta": "true", "team": "core"}),
        ("url:http://a:1/b", {"url": "http://a:1/b"}),
        ("", {}),
        ("  ", {}),
        (" env : prod , beta ", {"env": "prod", "beta": "true"}),
        ("a:1,,b:2,", {"a": "1", "b": "2"}),
        (",,,", {}),
        (":value", {}),
        ("key:", {"key": ""}),
        ("a:1,a:2", {"a": "2"}),
        ("user:ann@example.com,path:/a/b-c_d.e", {"user": "ann@example.com", "path": "/a/b-c_d.e"}),
        ("Stadt:Köln", {"Stadt": "Köln"}),
        ("k" * 64 + ":v", {"k" * 64: "v"}),
        ("k" * 70 + ":v,ok", {"ok": "true"}),
        ("k:" + "v" * 512, {"k": "v" * 512}),
        ("k:" + "v" * 600, {"k": "v" * 512}),
        (b"a:\x01,b:2", {"b": "2"}),
        (b"a:\xff,b:2", {}),
    ],
)
def test_tags(value, expected):
    """Commas separate tags, the first colon the key from the value."""
    assert tags(value) == expected


def test_tags_are_limited():
    """The first fifty tags count, the one of the session's header included."""
    sixty = ",".join(f"k{number}:v" for number in range(60))
    alone = read(("x-cylestio-tags", sixty))
    with_session = read(("x-cylestio-tags", sixty), ("x-cylestio-session-id", "s"))

    assert list(alone.tags) == [f"k{number}" for number in range(50)]
    assert alone.problems == ("x-cylestio-tags: more than 50 tags",)
    assert len(with_session.tags) == 50
    assert with_session.tags["session"] == "s"


def test_an_explicit_session_tag_wins():
    """A tag `session` is what the client says, also after fifty others."""
    sixty = ",".join(f"k{number}:v" for number in range(60))
    labels = read(("x-cylestio-session-id", "s"), ("x-cylestio-tags", f"{sixty},session:mine"))

    assert labels.tags["session"] == "mine"
    assert labels.run_id == labels.session_id == "s"


def test_problems_of_tags_are_told_without_values():
    """Each kind once, however many tags have it."""
    value = f"{'k' * 65}:1,{'j' * 65}:2,a:{'v' * 513}," + "b," * 200
    labels = read(("x-cylestio-tags", value))

    assert labels.problems == (
        "x-cylestio-tags: more than 200 entries",
        "x-cylestio-tags: a key longer than 64 characters",
        "x-cylestio-tags: a value longer than 512 characters, cut",
    )


@pytest.mark.parametrize(
    ("value", "retry"), [("0", False), ("00", False), ("1", True), ("10", True)]
)
def test_retries(value, retry):
    """The official SDKs count the attempts after the first."""
    assert read(("x-stainless-retry-count", value)) == Labels(retry=retry)


@pytest.mark.parametrize("value", ["-1", "one", "1.5", b"\xb2"])
def test_a_count_that_is_none(value):
    """Anything but digits is no retry."""
    labels = read(("x-stainless-retry-count", value))

    assert labels == Labels(problems=("x-stainless-retry-count: not a number",))


@pytest.mark.parametrize(
    "value", [f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-01-what"]
)
def test_traceparents(value):
    """Trace and parent of a W3C trace context, of later versions too."""
    assert read(("traceparent", value)) == Labels(traceparent=(TRACE, PARENT))


@pytest.mark.parametrize(
    "value",
    [
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"cc-{TRACE}-{PARENT}-01more",
        f"00-{TRACE[1:]}-{PARENT}-01",
        "x",
        b"\xff",
    ],
)
def test_traceparents_that_are_none(value):
    """Unknown versions, zeros, capitals and wrong lengths are not used."""
    labels = read(("traceparent", value))

    assert labels == Labels(problems=("traceparent: not a W3C trace context",))


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=700))))
def test_no_bytes_make_it_fail(fields):
    """Any bytes under any of the names: what comes out keeps the limits and can be sent on."""
    labels = read(*fields)

    for text in (labels.session_id, labels.agent_id, labels.run_id):
        assert len(text) <= 256
        assert text == "" or text.isprintable()
    assert len(labels.tags) <= 50
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in labels.tags.items())
    json.dumps([dict(labels.tags), labels.problems]).encode()


@given(
    st.text(min_size=1, max_size=256).filter(lambda text: text.isprintable() and text.strip(" "))
)
def test_what_is_printable_comes_through(value):
    """Ids and tags of printable characters arrive as they were sent, but for spaces around them."""
    labels = read(("x-cylestio-conversation-id", value))

    assert labels == Labels(session_id=value.strip(" "))


@pytest.mark.parametrize(
    ("user_id", "run"),
    [
        (json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": UUID}), UUID),
        (f"user_{'ab12' * 16}_account_{UUID}_session_{UUID}", UUID),
        (f"user_{'ab12' * 16}_account__session_{UUID}", UUID),
        ("user_5_session_3", ""),
        ("user-7", ""),
        ("", ""),
        ("{", ""),
        ("{}", ""),
        ("[1]", ""),
        ('{"session_id": 5}', ""),
        ('{"session_id": null}', ""),
        ('{"session_id": ""}', ""),
        ('{"session_id": "a\\nb"}', ""),
        (json.dumps({"session_id": "x" * 257}), ""),
        ('{"a":' * 800, ""),
        ('{"a":"\ud800"}', ""),
        ("x" * 5000 + "_session_1", ""),
    ],
)
def test_s25_the_run_of_a_metadata_user_id(user_id, run):
    """Both forms that Claude Code has had, and nothing from other applications' user ids."""
    assert run_of_metadata(user_id) == run


@given(st.text(alphabet=st.characters(codec=None)))
def test_any_user_id_is_allowed(user_id):
    """No text makes it fail, as it is, as JSON or as a session's id."""
    assert run_of_metadata(user_id) == ""
    assert run_of_metadata("{" + user_id) == ""
    run = run_of_metadata(json.dumps({"session_id": user_id}))
    assert run in {"", user_id}
