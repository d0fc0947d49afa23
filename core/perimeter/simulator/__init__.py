"""
A simulated LLM provider, for tests, demonstrations and benchmarks.

`Simulator` is an ASGI app that speaks OpenAI chat completions, OpenAI Responses, OpenAI embeddings
and Anthropic Messages, streaming and not, well enough for the official SDKs. It needs no key and no
network:

    from perimeter.simulator import Simulator
    from perimeter.testing import serve

    simulator = Simulator(seed=1)
    with serve(simulator) as base_url:
        client = openai.OpenAI(base_url=base_url + "/v1", api_key="anything")
        ...
    assert simulator.requests[0].path == "/v1/chat/completions"

It computes its answers from the request, so that a test can tell whether a conversation arrived
whole. What it can do is in `perimeter.simulator.skills` (arithmetic, facts it was told, counting
turns, quoting the history, repeating) and `perimeter.simulator.toolbox` (calling the offered tools
and reporting what they returned). How to make it misbehave, with the request header `x-simulate`,
is in `perimeter.simulator.faults`. How fast it talks is in `SimulatorSettings`.
"""

from perimeter.simulator.app import RecordedRequest, Simulator
from perimeter.simulator.conversation import (
    Answer,
    Call,
    Conversation,
    Result,
    Tool,
    ToolChoice,
    Turn,
)
from perimeter.simulator.faults import FAULT_HEADER, Faults
from perimeter.simulator.providers import Refusal
from perimeter.simulator.settings import SimulatorSettings
from perimeter.simulator.skills import SKILLS, Skill


__all__ = [
    "FAULT_HEADER",
    "SKILLS",
    "Answer",
    "Call",
    "Conversation",
    "Faults",
    "RecordedRequest",
    "Refusal",
    "Result",
    "Simulator",
    "SimulatorSettings",
    "Skill",
    "Tool",
    "ToolChoice",
    "Turn",
]
