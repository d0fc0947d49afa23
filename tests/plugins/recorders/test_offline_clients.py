"""The real clients run against recordings, with only the base URL changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import attrs
import httpx
import openai
import pytest

from perimeter import application
from perimeter.settings import Settings, UpstreamSettings
from perimeter.simulator import Simulator
from perimeter.testing import serve
from perimeter_plugin_recorders import HttpRecorder
from perimeter_plugin_recorders.serving import app
from recorded_files import exchange, write


KEY = "sk-" + "proj-" + "a1B2" * 12
QUESTION = [{"role": "user", "content": f"My key is {KEY}. What is 2+2?"}]
TOOL = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}


@attrs.frozen
class Clients:
    """Both official clients of one provider."""

    openai: openai.OpenAI
    anthropic: anthropic.Anthropic

    @classmethod
    @contextmanager
    def of(cls, url: str) -> Iterator[Clients]:
        """Provide clients of a provider at an address."""
        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as gpt,
            anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as claude,
        ):
            yield cls(gpt, claude)


def chat(clients: Clients) -> Any:
    """Ask chat completions, not streamed."""
    asked = clients.openai.chat.completions.create(model="gpt-4o", messages=QUESTION)
    return asked.model_dump()


def chat_stream(clients: Clients) -> Any:
    """Ask chat completions for a stream."""
    stream = clients.openai.chat.completions.create(model="gpt-4o", messages=QUESTION, stream=True)
    return [chunk.model_dump() for chunk in stream]


def tools(clients: Clients) -> Any:
    """Have a tool called."""
    made = clients.openai.chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "Please use the tool add."}],
        tools=[{"type": "function", "function": TOOL}],
        tool_choice={"type": "function", "function": {"name": "add"}},
    )
    assert made.choices[0].message.tool_calls
    return made.model_dump()


def responses(clients: Clients) -> Any:
    """Ask the Responses API for a stream."""
    stream = clients.openai.responses.create(model="gpt-4o", input="What is 3+4?", stream=True)
    return [event.model_dump() for event in stream]


def messages(clients: Clients) -> Any:
    """Ask Anthropic, not streamed."""
    made = clients.anthropic.messages.create(model="claude-any", max_tokens=99, messages=QUESTION)
    return made.model_dump()


def messages_stream(clients: Clients) -> Any:
    """Ask Anthropic for a stream, by the client's own helper."""
    asked = {"model": "claude-any", "max_tokens": 99, "messages": QUESTION}
    with clients.anthropic.messages.stream(**asked) as stream:
        return [*stream.text_stream], stream.get_final_message().model_dump()


CALLS: list[Callable[[Clients], Any]] = [
    chat,
    chat_stream,
    tools,
    responses,
    messages,
    messages_stream,
]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Record every call through a proxy; return the recordings, and what the clients got."""
    folder = tmp_path_factory.mktemp("recordings")
    with serve(Simulator(seed=3)) as provider:
        settings = Settings(
            upstreams={
                name: UpstreamSettings(type=name, base_url=provider)
                for name in ("openai", "anthropic")
            },
            plugins={"http_recorder": {"folder": str(folder)}},
        )
        built = application.build(settings, plugins={"http_recorder": HttpRecorder})
        with serve(built.asgi) as proxy, Clients.of(proxy) as clients:
            got = {each.__name__: each(clients) for each in CALLS}
    return folder, got


@pytest.fixture(scope="module")
def offline(live: tuple[Path, dict[str, Any]]) -> Iterator[Clients]:
    """Serve the recordings, and return clients of them."""
    with serve(app(live[0])) as url, Clients.of(url) as clients:
        yield clients


@pytest.mark.parametrize("call", CALLS)
def test_clients_get_what_they_got(
    call: Callable[[Clients], Any], live: tuple[Path, dict[str, Any]], offline: Clients
) -> None:
    """Each call gives the same answer offline, with its id, and again when it is asked again."""
    assert call(offline) == live[1][call.__name__]
    assert call(offline) == live[1][call.__name__]


def test_no_key_is_in_the_recordings(live: tuple[Path, dict[str, Any]]) -> None:
    """What was served had been masked, and is found nevertheless."""
    written = "".join(path.read_text(encoding="utf-8") for path in live[0].iterdir())
    assert KEY not in written
    assert "sk-proj-****" in written


def test_what_was_not_recorded_is_not_found(offline: Clients) -> None:
    """The error is the provider's own, and names the nearest recording and where it differs."""
    clients = offline
    other = [{"role": "user", "content": "Something else"}]
    with pytest.raises(openai.NotFoundError, match=r"messages\.0\.content"):
        clients.openai.chat.completions.create(model="gpt-4o", messages=other)
    with pytest.raises(anthropic.NotFoundError, match=r"max_tokens: recorded 99, asked 98"):
        clients.anthropic.messages.create(model="claude-any", max_tokens=98, messages=QUESTION)
    with pytest.raises(openai.NotFoundError):
        clients.openai.embeddings.create(model="e", input="nobody asked this")


def test_faults_happen_on_request(offline: Clients) -> None:
    """A recorded answer can be replaced by an error, or broken off."""
    ask = offline.openai.chat.completions.create
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": QUESTION}
    with pytest.raises(openai.RateLimitError) as limited:
        ask(**asked, extra_headers={"x-perimeter-fault": "status=429; retry-after=7"})
    assert limited.value.response.headers["retry-after"] == "7"
    with pytest.raises((httpx.RemoteProtocolError, openai.APIError)):
        list(ask(**asked, stream=True, extra_headers={"x-perimeter-fault": "cut=1"}))
    with pytest.raises(openai.BadRequestError, match="nonsense"):
        ask(**asked, extra_headers={"x-perimeter-fault": "nonsense"})


def post(url: str, body: bytes) -> httpx.Response:
    """Send a body as it is."""
    return httpx.post(f"{url}/v1/chat/completions", content=body, trust_env=False)


def answer(number: int) -> str:
    """Return the body of a recorded answer."""
    return next(line["text"] for line in exchange(number) if line["type"] == "chunk")


def asked(number: int) -> dict[str, Any]:
    """Return the body of a recorded request."""
    return json.loads(exchange(number)[0]["text"])  # type: ignore[no-any-return]


def test_the_same_request_gets_its_answers_in_order(tmp_path: Path) -> None:
    """What was asked three times gets three answers, then the last one again."""
    same = {"text": json.dumps(asked(1))}
    lines = [line for number in (1, 2, 3) for line in exchange(number, at=number, request=same)]
    with serve(app(write(tmp_path / "recording.jsonl", *lines))) as url:
        got = [post(url, json.dumps(asked(1)).encode()).text for _ in range(4)]
    assert got == [answer(1), answer(2), answer(3), answer(3)]


def test_json_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    """Order of keys and white space do not count, values do."""
    path = write(tmp_path / "recording.jsonl", *exchange(1))
    turned = dict(reversed(asked(1).items()))
    with serve(app(path)) as url:
        assert post(url, json.dumps(turned, indent=3).encode()).text == answer(1)
        assert post(url, json.dumps({**turned, "temperature": 0}).encode()).status_code == 404


def test_fields_can_be_ignored(tmp_path: Path) -> None:
    """Fields that change from run to run are left out of the comparison where told."""
    path = write(tmp_path / "recording.jsonl", *exchange(1))
    changed = {**asked(1), "user": "someone", "metadata": {"run": 7}}
    with serve(app(path, ignore=("user", "metadata"))) as url:
        assert post(url, json.dumps(changed).encode()).text == answer(1)
    with serve(app(path, ignore=("user",))) as url:
        assert post(url, json.dumps(changed).encode()).status_code == 404


def test_streams_take_the_time_they_took(tmp_path: Path) -> None:
    """With a speed the pauses between chunks are those of the recording, divided by it."""
    parts = [("data: 1\n\n", 1.0), ("data: 2\n\n", 3.0), ("data: [DONE]\n\n", 3.5)]
    head = {"headers": [["content-type", "text/event-stream"]], "framing": "sse"}
    first, *rest = exchange(1, head=head, chunk={"text": parts[0][0], "at": parts[0][1]})
    chunks = [{**rest[1], "text": text, "at": at} for text, at in parts[1:]]
    end = {**rest[-1], "at": 4.0, "size": sum(len(text) for text, _ in parts)}
    path = write(tmp_path / "recording.jsonl", first, *rest[:-1], *chunks, end)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with serve(app(path, speed=2.0, sleep=sleep)) as url:
        assert post(url, json.dumps(asked(1)).encode()).text == "".join(text for text, _ in parts)
    # Each wait is until a moment after the request, and the clock of this test stands still.
    assert slept == pytest.approx([0.25, 0.5, 1.5, 1.75], abs=0.2)
    slept.clear()
    with serve(app(path, sleep=sleep)) as url:
        post(url, json.dumps(asked(1)).encode())
    assert sum(slept) == 0
