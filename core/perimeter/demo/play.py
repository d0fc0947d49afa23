"""One round of the demo."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx

from perimeter.demo.agents import AGENTS, Agent, librarian
from perimeter.demo.caller import Caller
from perimeter.demo.results import RoundResult, Step


_TIMEOUT = 60.0


async def play_round(base_url: str, *, report: Callable[[Step], None]) -> RoundResult:
    """
    Let every agent talk once, all of them at the same time, and check every answer.

    Args:
        base_url: The proxy, such as `http://127.0.0.1:4000`.
        report: Is told about every call when it is over.
    """
    result = RoundResult()
    # Without trust_env=False a proxy named in the environment would get these calls.
    async with httpx.AsyncClient(base_url=base_url, timeout=_TIMEOUT, trust_env=False) as client:
        callers = [(agent, _caller(agent, client, result, report)) for agent in AGENTS]
        await asyncio.gather(*(_converse(agent, caller) for agent, caller in callers))
    return result


def _caller(
    agent: Agent, client: httpx.AsyncClient, result: RoundResult, report: Callable[[Step], None]
) -> Caller:
    if agent.converse is not librarian:
        result.conversations[agent.name] = []
    prefix = f"/agent-workflow/{agent.workflow}" if agent.workflow else ""
    return Caller(agent.name, client, result, report, prefix, agent.headers)


async def _converse(agent: Agent, caller: Caller) -> None:
    """Let one agent talk; what goes wrong with it is a failure of its own."""
    try:
        await agent.converse(caller)
    except httpx.HTTPError as error:
        caller.expect(False, f"the call failed: {error!r}")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        caller.expect(False, f"the answer is not what the provider sends: {error!r}")
