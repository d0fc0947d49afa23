"""The parser of Gemini's generateContent: replies that are not streamed, tokens, errors."""

from __future__ import annotations

import json

import pytest

from perimeter.calls import LLMReply, Message, ParseError, Text, Thinking, ToolCall, Usage
from perimeter.dialects.gemini_parser import parse_reply


# usageMetadata, and what it means by ai.google.dev/api/generate-content#UsageMetadata: the prompt's
# count includes cached tokens; the total is prompt + thoughts + tool use + candidates.
USAGES = [
    (
        {"promptTokenCount": 8, "candidatesTokenCount": 3, "totalTokenCount": 11},
        Usage(input=8, output=3),
    ),
    (
        {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 90,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 20,
            "totalTokenCount": 125,
        },
        Usage(input=100, output=25, cache_read=90, reasoning=20),
    ),
    (
        {
            "promptTokenCount": 10,
            "toolUsePromptTokenCount": 1000,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 2,
            "totalTokenCount": 1017,
            "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 1000}],
        },
        Usage(input=1010, output=7, reasoning=2),
    ),
    ({"promptTokenCount": 8, "totalTokenCount": 8}, Usage(input=8)),  # blocked
    (
        {"prompt_token_count": 8, "candidates_token_count": 3, "total_token_count": 11},
        Usage(input=8, output=3),
    ),
    ({"trafficType": "ON_DEMAND"}, None),
    ({"promptTokenCount": "8", "candidatesTokenCount": -1}, None),
    ({}, None),
    (None, None),
]


@pytest.mark.parametrize(("metadata", "usage"), USAGES)
def test_tokens(metadata, usage):
    """Cached ones are in the input, thoughts are in the output, whatever Google counts where."""
    assert parse_reply(json.dumps({"usageMetadata": metadata}).encode()).usage == usage


def reply(**fields):
    return parse_reply(json.dumps(fields).encode())


def test_a_reply():
    """A signature, beside a part, on an empty text or alone, is nothing."""
    found = reply(
        candidates=[
            {
                "content": {
                    "role": "model",
                    "parts": [
                        {"text": "Hm", "thought": True},
                        {"text": "It is "},
                        {"text": "warm.", "thoughtSignature": "Er"},
                        {"text": "", "thoughtSignature": "Er"},
                        {"thoughtSignature": "Er"},
                        {"functionCall": {"name": "look"}, "thoughtSignature": "Er"},
                    ],
                },
                "finishReason": "STOP",
                "finishMessage": "Model generated function call(s).",
            }
        ],
        usageMetadata={"promptTokenCount": 1},
        modelVersion="gemini-2.5-pro",
        responseId="r1",
    )
    said = (Thinking("Hm"), Text("It is warm."), ToolCall("", "look", "{}"))
    message = Message("assistant", said)
    assert found == LLMReply("r1", "gemini-2.5-pro", message, "STOP", Usage(input=1))


def test_an_empty_text_is_nothing():
    """Alone, or after a call, where a stream may have one and the whole reply has none."""
    empty, call = {"text": "", "thoughtSignature": "Er"}, {"functionCall": {"name": "look"}}
    found = [
        reply(candidates=[{"content": {"parts": given}}]).message.parts
        for given in ([empty], [call, empty])
    ]
    assert found == [(), (ToolCall("", "look", "{}"),)]


NOTHING_SAID = [
    ({"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}, "MAX_TOKENS", True),
    ({"content": {"parts": None}, "finishReason": "SAFETY"}, "SAFETY", True),
    ({"finishReason": "MODEL_ARMOR", "finishMessage": "Blocked."}, "MODEL_ARMOR", False),
    ({"content": None, "finishReason": "UNEXPECTED_TOOL_CALL"}, "UNEXPECTED_TOOL_CALL", False),
    ({"finishReason": 1}, "STOP", False),
    ({"finishReason": 3}, "SAFETY", False),
    ({"finishReason": 8}, "8", False),
    ({"finishReason": 0}, "", False),
    ({"finishReason": True}, "", False),
    ({"finish_reason": "STOP"}, "STOP", False),
]


@pytest.mark.parametrize(("candidate", "reason", "begun"), NOTHING_SAID)
def test_candidates_that_say_nothing(candidate, reason, begun):
    """Why is told by name, or by number where clients asked for those."""
    found = reply(candidates=[candidate])
    assert found == LLMReply(message=Message("assistant") if begun else None, finish_reason=reason)


def test_of_several_candidates_the_first_counts():
    """Which is not the one that comes first; one without a number is the first."""
    one = {"content": {"parts": [{"text": "one"}]}, "index": 1}
    zero = {"content": {"parts": [{"text": "zero"}]}}
    assert reply(candidates=[one, zero]).message.text == "zero"
    assert reply(candidates=[zero, {**one, "index": 0}]).message.text == "zero"


def test_a_prompt_that_was_blocked():
    """There is no candidate then, and no tokens perhaps; why is told, but is no error."""
    feedback = {"blockReason": "MODEL_ARMOR", "blockReasonMessage": "Filtered."}
    metadata = {"trafficType": "ON_DEMAND"}
    found = reply(promptFeedback=feedback, usageMetadata=metadata, responseId="r")
    assert found == LLMReply("r", finish_reason="MODEL_ARMOR")
    assert reply(promptFeedback={"blockReason": "SAFETY"}) == LLMReply(finish_reason="SAFETY")
    fine = reply(promptFeedback={"safetyRatings": []}, candidates=[{"finishReason": "STOP"}])
    assert (fine.error, fine.finish_reason) == ("", "STOP")


ERRORS = [
    ({"error": {"code": 400, "message": "Bad.", "status": "INVALID"}}, "Bad.", "INVALID"),
    ([{"error": {"code": 400, "message": "Bad.", "status": "INVALID"}}], "Bad.", "INVALID"),
    ({"error": {"code": 400, "status": "INVALID"}}, "INVALID", "INVALID"),
    ({"error": {"code": 400}}, '{"code":400}', "400"),
    ({"error": "Bad."}, "Bad.", ""),
    ({"message": "Gateway."}, "Gateway.", ""),
    ({"message": "Gateway.", "code": 5}, "Gateway.", "5"),
]


@pytest.mark.parametrize(("body", "error", "kind"), ERRORS)
def test_errors(body, error, kind):
    """The provider's, in an array where an array was asked for, and those of gateways."""
    found = parse_reply(json.dumps(body, indent=2).encode())
    assert found == LLMReply(error=error, error_type=kind)


@pytest.mark.parametrize("body", [b"", b"<html>", b"1", b'"a"', b"null"])
def test_what_is_no_reply(body):
    """Neither an object nor an array."""
    with pytest.raises(ParseError):
        parse_reply(body)
