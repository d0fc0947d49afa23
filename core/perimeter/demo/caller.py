"""How the sample agents call a provider: plain HTTP, as an agent without an SDK would."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import attrs
import httpx

from perimeter.demo.results import RoundResult, Step, Traffic


@attrs.frozen
class Api:
    """One of the providers' APIs."""

    upstream: str
    dialect: str
    path: str
    model: str


CHAT = Api("openai", "openai.chat", "/v1/chat/completions", "gpt-5.4-mini")
RESPONSES = Api("openai", "openai.responses", "/v1/responses", "gpt-5.4")
EMBEDDINGS = Api("openai", "openai.embeddings", "/v1/embeddings", "text-embedding-3-small")
MESSAGES = Api("anthropic", "anthropic.messages", "/v1/messages", "claude-haiku-4-5")

_HEADERS = {
    "openai": {"authorization": "Bearer demo"},
    "anthropic": {"x-api-key": "demo", "anthropic-version": "2023-06-01"},
}
_SHOWN = 100


@attrs.define(eq=False)
class Caller:
    """
    One agent's connection to its providers.

    Attributes:
        agent: The agent's name.
        client: Has the proxy as its base URL.
        result: Where calls and failures are counted.
        report: Is told about every call.
        prefix: Goes in front of every path: the workflow.
        headers: Sent along with every call.
    """

    agent: str
    client: httpx.AsyncClient
    result: RoundResult
    report: Callable[[Step], None]
    prefix: str = ""
    headers: Mapping[str, str] = attrs.field(factory=dict)

    async def ask(
        self,
        api: Api,
        body: dict[str, Any],
        *,
        asked: str,
        read: Callable[[Any], str],
        status: int = 200,
        faults: str = "",
    ) -> httpx.Response:
        """
        Call a provider and wait for the whole answer.

        Args:
            api: Which API.
            body: The request.
            asked: What it asks, for the report.
            read: Finds the answer's text in its JSON, for the report.
            status: The status that has to come back.
            faults: What the simulated provider is to do wrong.
        """
        began = time.monotonic()
        response = await self.client.send(self._request(api, body, faults))
        payload = response.json()
        self._passed(api, response, status)
        answered = read(payload) if response.is_success else payload["error"]["message"]
        self._tell(api, response, (asked, answered), began)
        self.count_tokens(payload.get("usage") or {})
        return response

    async def stream(
        self, api: Api, body: dict[str, Any], *, asked: str, read: Callable[[Any], str]
    ) -> str:
        """
        Call a provider and read its answer as it comes.

        Args:
            api: Which API.
            body: The request.
            asked: What it asks, for the report.
            read: Finds the text in an event's JSON, or returns "".

        Returns:
            The answer's text.
        """
        began = time.monotonic()
        response = await self.client.send(self._request(api, body, ""), stream=True)
        try:
            text = "".join([read(event) async for event in self._events(response)])
        finally:
            await response.aclose()
        self._passed(api, response, 200)
        self._tell(api, response, (asked, text), began)
        return text

    async def _events(self, response: httpx.Response) -> AsyncIterator[Any]:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                message = event.get("message") or event
                self.count_tokens(message.get("usage") or {}, opening="message" in event)
                yield event

    def _request(self, api: Api, body: dict[str, Any], faults: str) -> httpx.Request:
        headers = {**_HEADERS[api.upstream], **self.headers}
        if faults:
            headers["x-simulate"] = faults
        return self.client.build_request(
            "POST", self.prefix + api.path, json={"model": api.model, **body}, headers=headers
        )

    def _passed(self, api: Api, response: httpx.Response, status: int) -> None:
        traffic = Traffic(api.upstream, api.dialect, response.status_code)
        self.result.expected[traffic] += 1
        exchange = response.headers.get("x-perimeter-exchange-id")
        if exchange and self.agent in self.result.conversations:
            self.result.conversations[self.agent].append(exchange)
        self.expect(response.status_code == status, f"status {response.status_code}, not {status}")

    def _tell(
        self, api: Api, response: httpx.Response, texts: tuple[str, str], began: float
    ) -> None:
        asked, answered = (text if len(text) <= _SHOWN else text[:_SHOWN] + "…" for text in texts)
        traffic = Traffic(api.upstream, api.dialect, response.status_code)
        self.report(Step(self.agent, asked, answered, traffic, time.monotonic() - began))

    def count_tokens(self, usage: dict[str, Any], *, opening: bool = False) -> None:
        """
        Add up the tokens of a usage report.

        Args:
            usage: As the provider sent it, in either one's words.
            opening: Whether it came at a stream's beginning, where the output is not known yet.
        """
        self.result.input_tokens += usage.get("prompt_tokens") or usage.get("input_tokens") or 0
        written = usage.get("completion_tokens") or usage.get("output_tokens") or 0
        self.result.output_tokens += 0 if opening else written

    def expect(self, right: bool, problem: str) -> None:
        """Note a failure unless something is as it should be."""
        if not right:
            self.result.failures.append(f"{self.agent}: {problem}")

    def expect_text(self, answer: str, wanted: str) -> None:
        """Note a failure unless an answer has something in it."""
        self.expect(wanted in answer, f"{wanted!r} is not in the answer {answer[:_SHOWN]!r}")
