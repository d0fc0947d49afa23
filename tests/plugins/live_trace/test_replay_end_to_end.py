"""A recorded call is edited and sent again: through a real proxy, to a simulated provider."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from api_parts import Stage, form_token, stage, words

from perimeter_plugin_live_trace.config import Config
from perimeter_plugin_live_trace.replay import sending


CHAT = "/v1/chat/completions"
ASKED = {
    "model": "gpt-4.1",
    "messages": [
        {"role": "system", "content": "You calculate."},
        {"role": "user", "content": "What is 17 * 23?"},
    ],
    "temperature": 0.5,
}
SECRET = "typed-" + "k" * 24
FORM = "/sessions/first/calls/1/replay"


@pytest.fixture
def scene(tmp_path):
    """A stage on which one call was made."""
    with stage(tmp_path / "live-trace.db") as built:
        built.ask(CHAT, ASKED, **{"x-perimeter-conversation-id": "first"})
        yield built


def form(client: httpx.Client, **changes: str) -> dict[str, str]:
    """Return the fields of the form as they are shown, and changes."""
    page = client.get(FORM)
    assert page.status_code == 200, words(page.text)
    draft = client.get(FORM + ".json").json()["draft"]
    fields = {name: value or "" for name, value in draft.items()}
    return {"csrf": form_token(page.text), **fields, **changes}


def sent(scene: Stage, **changes: str) -> httpx.Response:
    """Send the form and follow to its result."""
    with scene.browser() as client:
        return client.post(FORM, data=form(client, **changes), follow_redirects=True)


def test_the_form_shows_the_call(scene):
    """The page has what was asked, to be edited, and where it would go."""
    with scene.browser() as client:
        view = client.get(FORM + ".json").json()
        page = client.get(FORM).text

    assert view["draft"]["model"] == "gpt-4.1"
    assert view["draft"]["system"] == "You calculate."
    assert view["upstream"] == "openai"
    assert view["why_not"] == ""
    assert "What is 17 * 23?" in page
    assert 'type="password"' in page


def test_an_edited_call_is_answered(scene):
    """The edit reaches the provider, and the result stands beside what was answered first."""
    changed = '[{"role": "user", "content": "What is 2 + 3?"}]'
    response = sent(scene, messages=changed, system="You add.")

    body = scene.asked[-1][1]
    assert body["messages"] == [
        {"role": "system", "content": "You add."},
        {"role": "user", "content": "What is 2 + 3?"},
    ]
    assert body["temperature"] == 0.5
    assert body["stream"] is False
    assert response.history[0].status_code == 303
    exchange = parse_qs(urlsplit(str(response.url)).query)["result"][0]
    view = httpx.get(f"{scene.dashboard.url}{FORM}.json?result={exchange}").json()
    both = view["comparison"]
    assert "391" in both["before"]["text"]
    assert "5" in both["after"]["text"]
    assert both["after"]["tok_in"] > 0
    assert both["after"]["dur_us"] > 0
    assert {span["kind"] for span in both["spans"]} >= {"gone", "new"}
    assert view["changed"] == ["system", "messages"]
    assert view["draft"]["system"] == "You add.", "the form goes on from what was sent"
    assert "<del>" in response.text
    assert "<ins>" in response.text


def test_the_replay_is_linked(scene):
    """It becomes a session of its own, tagged and linked; the first one stays what it was."""
    sent(scene)
    reader = scene.dashboard.reader
    rows = reader.sql(
        "SELECT calls.exchange, calls.replay_of, sessions.public_id, tags.value FROM calls"
        " JOIN sessions ON sessions.id = calls.session_id LEFT JOIN tags"
        " ON tags.session_id = sessions.id AND tags.key = 'replay-of' ORDER BY calls.id"
    )

    (first, second) = rows
    assert first[1:] == ("", "first", None)
    assert second[1] == first[0] == second[3]
    assert second[2].startswith("replay-")
    view = httpx.get(f"{scene.dashboard.url}{FORM}.json").json()
    assert [each["exchange"] for each in view["earlier"]] == [second[0]]


def test_our_headers_stay_with_the_proxy(scene):
    """The provider sees nothing of what links the replay."""
    sent(scene)

    headers = scene.asked[-1][0]
    assert not [name for name in headers if name.startswith(("x-perimeter", "x-cylestio"))]


def test_a_typed_key_is_used_and_forgotten(scene, caplog):
    """A key goes to the provider, and into no page, log, or file."""
    caplog.set_level(logging.DEBUG)
    response = sent(scene, key=SECRET)

    assert scene.asked[-1][0]["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in response.text
    assert SECRET not in caplog.text
    folder = Path(scene.dashboard.reader.path).parent
    for file in folder.iterdir():
        assert SECRET.encode() not in file.read_bytes()


def test_a_key_that_is_none(scene):
    """A key with a line break is refused before anything is sent, and is not quoted."""
    before = len(scene.asked)
    response = sent(scene, key="two\nlines")

    assert "has characters that no key has" in words(response.text)
    assert "two\nlines" not in response.text
    assert len(scene.asked) == before


def test_the_proxys_own_key(tmp_path):
    """Without a typed key, the proxy's configured one is used."""
    from perimeter import Secret

    own = "configured-" + "c" * 20
    with stage(tmp_path / "live-trace.db", api_key=Secret(own)) as scene:
        scene.ask(CHAT, ASKED, **{"x-perimeter-conversation-id": "first"})
        sent(scene)

        assert scene.asked[-1][0]["authorization"] == f"Bearer {own}"


def test_mistakes_keep_what_was_typed(scene):
    """A form that is no request comes back as it was, with the reason, and nothing is sent."""
    before = len(scene.asked)
    response = sent(scene, messages="[nope", system="Still here.")

    assert response.status_code == 200
    assert "Messages are no JSON" in words(response.text)
    assert "[nope" in response.text
    assert "Still here." in response.text
    assert len(scene.asked) == before


@pytest.mark.parametrize(
    ("fault", "told"),
    [("status=429; message=slow down", "slow down"), ("cut=0", "No whole answer came")],
)
def test_an_error_of_the_provider_is_shown(scene, fault, told):
    """What goes wrong is shown beside what had been answered, and what was typed stays."""
    scene.faults.append(fault)
    response = sent(scene, system="Still here.")

    assert response.status_code == 200
    assert told in words(response.text)
    assert "Still here." in response.text


def test_no_address_can_be_chosen(scene):
    """Fields that nobody asked for change nothing about where a request goes."""
    response = sent(
        scene,
        url="http://evil.example/",
        base_url="http://evil.example/",
        upstream="anthropic",
        target="/v1/other",
        proxy="http://evil.example",
    )

    assert response.history[0].status_code == 303
    assert len(scene.asked) == 2


def test_an_upstream_that_is_gone(scene):
    """A call of an upstream that is no longer configured is refused by the proxy."""
    rename = "UPDATE calls SET upstream = ?"
    for name in ("gone", "openai/v1", "../openai", "http://evil.example", ""):
        scene.dashboard.changes.change(lambda work, name=name: work.sql(rename, (name,)))
        response = sent(scene)
        assert "HTTP 404" in words(response.text)

    assert len(scene.asked) == 1, "nothing went to the provider"


def test_a_proxy_that_is_gone(scene):
    """Where no proxy answers, that is said, and what was typed stays."""
    with scene.browser() as client:
        fields = form(client, system="Still here.")
        scene.dashboard.site.proxy_url = "http://127.0.0.1:1"
        response = client.post(FORM, data=fields)

    assert "No whole answer came" in words(response.text)
    assert "Still here." in response.text


def test_without_a_proxy(scene):
    """A dashboard alone shows the page, says why nothing can be sent, and sends nothing."""
    with scene.browser() as client:
        fields = form(client)
        scene.dashboard.site.proxy_url = ""
        page = client.get(FORM)
        refused = client.post(FORM, data=fields)

    assert "No proxy is connected" in words(page.text)
    assert refused.status_code == 409


def test_it_can_be_switched_off(scene):
    """`replay = false` leaves neither page nor action."""
    with scene.browser() as client:
        fields = form(client)
        scene.dashboard.site.config = Config(replay=False)
        assert client.get(FORM).status_code == 404
        assert client.post(FORM, data=fields).status_code == 409
    assert len(scene.asked) == 1


def test_a_form_of_another_page_is_refused(scene):
    """Without the form's token, nothing is sent."""
    with scene.browser() as client:
        fields = form(client, csrf="x" * 80)
        assert client.post(FORM, data=fields).status_code == 403
    assert len(scene.asked) == 1


def test_only_some_at_once(scene, monkeypatch):
    """Replays that wait for an answer can't take all threads of the dashboard."""
    import threading

    monkeypatch.setattr(sending, "_slots", threading.BoundedSemaphore(1))
    with sending._slots:
        response = sent(scene)

    assert "Other replays are under way" in words(response.text)


def test_streams_and_other_apis(scene):
    """A streamed call of another provider is sent again as a whole, with its version header."""
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "system": "You calculate.",
        "messages": [{"role": "user", "content": "What is 6 * 7?"}],
        "stream": True,
    }
    headers = {"anthropic-version": "2023-06-01", "x-perimeter-conversation-id": "second"}
    scene.ask("/v1/messages", body, **headers)
    page = "/sessions/second/calls/1/replay"
    with scene.browser() as client:
        shown = client.get(page)
        draft = client.get(page + ".json").json()["draft"]
        fields = {"csrf": form_token(shown.text), **draft}
        response = client.post(page, data=fields, follow_redirects=True)

    asked_headers, asked = scene.asked[-1]
    assert asked_headers["anthropic-version"] == "2023-06-01"
    assert asked["stream"] is False
    assert asked["system"] == "You calculate."
    assert "Both say the same" in words(response.text)


def test_calls_that_are_not_there(scene):
    """Numbers of no call are 404."""
    for number in ("0", "2", "x", "999999999999", "1e3", "-1"):
        path = f"/sessions/first/calls/{number}/replay"
        assert httpx.get(scene.dashboard.url + path).status_code == 404


def test_events_lead_to_the_form(scene):
    """The address of a call's event leads to its form; other events have none."""
    rows = scene.dashboard.reader.sql("SELECT id, kind FROM events ORDER BY id")
    event = {kind: f"{scene.dashboard.url}/events/{row}/replay" for row, kind in rows}

    led = httpx.get(event["llm.call.start"])
    assert led.status_code == 303
    assert urlsplit(led.headers["location"]).path == FORM
    for other in (event["llm.call.start"].replace("/events/", "/events/9"), "x", "-1"):
        url = other if other.startswith("http") else f"{scene.dashboard.url}/events/{other}/replay"
        assert httpx.get(url).status_code == 404


def test_results_that_are_not_there(scene):
    """A result of another call, or of none, is not shown."""
    exchange = scene.dashboard.reader.sql("SELECT exchange FROM calls")[0][0]
    for other in ("nope", exchange):
        page = httpx.get(f"{scene.dashboard.url}{FORM}?result={other}")
        assert "not here any more" in words(page.text)
