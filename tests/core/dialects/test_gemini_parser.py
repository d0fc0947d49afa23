"""The parser of Gemini's generateContent: requests."""

from __future__ import annotations

import json

import pytest

from perimeter.calls import (
    Media,
    Message,
    Other,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from perimeter.dialects.gemini_parser import parse_request
from perimeter.dialects.parsing import digest


def parts(*given, role="user"):
    """Return what the parts of a request's content are."""
    body = {"contents": [{"role": role, "parts": list(given)}]}
    return parse_request(json.dumps(body).encode()).messages[0].parts


REQUEST = {
    "contents": [
        {"role": "user", "parts": [{"text": "How warm?"}, {"text": "And here?"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"at": "é"}}}]},
        {"role": "function", "parts": [{"functionResponse": {"name": "look", "response": {}}}]},
    ],
    "systemInstruction": {"role": "user", "parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
    "tools": [{"functionDeclarations": [{"name": "look"}, {"name": "go"}]}, {"googleSearch": {}}],
    "generationConfig": {
        "temperature": 0.5,
        "stopSequences": ["x"],
        "thinkingConfig": {"thinkingBudget": 9},
    },
    "cachedContent": "cachedContents/1",
}
SNAKE_REQUEST = {
    "contents": [
        {"parts": [{"text": "How warm?"}, {"text": "And here?"}]},
        {"role": "model", "parts": [{"function_call": {"name": "look", "args": {"at": "é"}}}]},
        {"role": "function", "parts": [{"function_response": {"name": "look", "response": {}}}]},
    ],
    "system_instruction": {"parts": [{"text": "Be brief."}, {"text": "Be kind."}]},
    "tools": [{"function_declarations": [{"name": "look"}, {"name": "go"}]}, {"google_search": {}}],
    "generation_config": {
        "temperature": 0.5,
        "stop_sequences": ["x"],
        "thinking_config": {"thinking_budget": 9},
    },
    "cached_content": "cachedContents/1",
}
PATH = "/v1beta/models/gemini-2.5-pro:generateContent"


def test_a_request():
    """Each part of it has its place; roles are those of every other API."""
    found = parse_request(json.dumps(REQUEST).encode(), PATH)
    assert found.model == "gemini-2.5-pro"
    assert found.messages == (
        Message("user", (Text("How warm?"), Text("And here?"))),
        Message("assistant", (ToolCall("", "look", '{"at":"é"}'),)),
        Message("tool", (ToolResult("look", "{}"),)),
    )
    assert found.system == "Be brief.\nBe kind."
    assert found.tools == ("look", "go", "googleSearch")
    params = {"temperature": 0.5, "thinkingBudget": 9, "cachedContent": "cachedContents/1"}
    assert found.params == params
    assert not found.stream


def test_both_spellings_are_the_same():
    """Clients write camelCase, snake_case, or both side by side."""
    expected = parse_request(json.dumps(REQUEST).encode(), PATH)
    assert parse_request(json.dumps(SNAKE_REQUEST).encode(), PATH) == expected
    mixed = {**REQUEST, "contents": SNAKE_REQUEST["contents"]}
    assert parse_request(json.dumps(mixed).encode(), PATH) == expected


@pytest.mark.parametrize(
    ("path", "model", "stream"),
    [
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini-2.5-pro", False),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini-2.5-pro", True),
        ("/v1beta/models/gemini-2.5-pro%3AstreamGenerateContent", "gemini-2.5-pro", True),
        ("/v1/projects/p/locations/l/publishers/google/models/g:generateContent", "g", False),
        ("/v1/projects/p/locations/l/endpoints/123:generateContent", "123", False),
        ("/v1beta/tunedModels/my%20own:generateContent", "my own", False),
        ("/elsewhere", "in-the-body", False),
    ],
)
def test_the_model_and_the_stream_are_in_the_path(path, model, stream):
    """The body has neither, usually."""
    found = parse_request(b'{"model": "models/in-the-body"}', path)
    assert (found.model, found.stream) == (model, stream)


def test_single_values_stand_for_lists():
    """Google's servers take them, and its documentation has them."""
    body = {
        "contents": {"role": "user", "parts": {"text": "a"}},
        "tools": {"functionDeclarations": {"name": "f"}},
        "systemInstruction": {"parts": {"text": "s"}},
    }
    found = parse_request(json.dumps(body).encode())
    assert found.messages == (Message("user", (Text("a"),)),)
    assert (found.tools, found.system) == (("f",), "s")
    assert parse_request(b'{"contents": ["a"]}').messages == found.messages


def test_chunks_in_the_history_are_one_message():
    """Clients keep each chunk of a stream as a content; the reply was one message."""
    contents = [
        {"role": "user", "parts": [{"text": "a"}]},
        {"role": "user", "parts": [{"text": "b"}]},
        {"role": "model", "parts": [{"text": "c", "thought": True}]},
        {"role": "model", "parts": [{"text": "d"}]},
        {"role": "model", "parts": [{"text": "e"}, {"text": "", "thoughtSignature": "Er"}]},
    ]
    assert parse_request(json.dumps({"contents": contents}).encode()).messages == (
        Message("user", (Text("a"),)),
        Message("user", (Text("b"),)),
        Message("assistant", (Thinking("c"), Text("de"))),
    )


@pytest.mark.parametrize("name", ["inlineData", "inline_data"])
def test_media_inside_are_digested(name):
    """As they are sent; nothing is decoded."""
    kind = "mimeType" if name == "inlineData" else "mime_type"
    found = parts({name: {kind: "image/png", "data": "QUJD"}})
    assert found == (Media(digest("QUJD"), "image/png", 4),)


def test_files_are_told_by_their_address():
    """Whatever else is said about them."""
    part = {"fileData": {"fileUri": "gs://a", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 1}}
    assert parts(part) == (Media(digest("gs://a"), "video/mp4"),)


def test_calls_may_have_no_id_and_no_arguments():
    """No arguments and empty ones are the same: clients send back either."""
    given = [{}, {"args": None}, {"args": {}}, {"id": "1", "args": {"b": 1, "a": [None]}}]
    assert parts(*({"functionCall": {"name": "f", **call}} for call in given)) == (
        *[ToolCall("", "f", "{}")] * 3,
        ToolCall("1", "f", '{"b":1,"a":[null]}'),
    )


RESULTS = [
    ({"name": "f", "response": {"result": "22"}}, ToolResult("f", "22")),
    ({"id": "1", "name": "f", "response": {"output": {"a": 1}}}, ToolResult("1", '{"a":1}')),
    ({"name": "f", "response": {"error": "no"}}, ToolResult("f", "no", is_error=True)),
    ({"name": "f", "response": {"a": 1, "b": 2}}, ToolResult("f", '{"a":1,"b":2}')),
    ({"name": "f", "response": {"error": None, "b": 2}}, ToolResult("f", '{"error":null,"b":2}')),
    ({"name": "f", "response": "bare"}, ToolResult("f", "bare")),
    ({"name": "f"}, ToolResult("f", "")),
    (
        {"name": "f", "response": {}, "parts": [{"inlineData": {"data": "Q", "mimeType": "t"}}]},
        ToolResult("f", "{}", media=(Media(digest("Q"), "t", 1),)),
    ),
    (
        {"name": "f", "response": {}, "parts": [{"file_data": {"file_uri": "u"}}, None, {}]},
        ToolResult("f", "{}", media=(Media(digest("u"), ""),)),
    ),
]


@pytest.mark.parametrize(("response", "result"), RESULTS)
def test_results_of_tools(response, result):
    """What clients wrap them in, since they must be objects, is taken off."""
    assert parts({"functionResponse": response}) == (result,)


def test_tools_that_the_provider_runs():
    """Code, and tools of other kinds, of both of which older versions had no ids."""
    said = parts(
        {"executableCode": {"id": "1", "language": "PYTHON", "code": "1+1"}},
        {"codeExecutionResult": {"id": "1", "outcome": "OUTCOME_OK", "output": "2"}},
        {"executable_code": {"language": "PYTHON", "code": "1/0"}},
        {"code_execution_result": {"outcome": "OUTCOME_FAILED", "output": "oh"}},
        {"toolCall": {"toolType": "GOOGLE_SEARCH", "args": {"q": "x"}, "id": "2"}},
        {"toolResponse": {"tool_type": "GOOGLE_SEARCH", "response": {"a": "b"}}},
        role="model",
    )
    assert said == (
        ToolCall("1", "codeExecution", '{"language":"PYTHON","code":"1+1"}', server=True),
        ToolResult("1", "2"),
        ToolCall("", "codeExecution", '{"language":"PYTHON","code":"1/0"}', server=True),
        ToolResult("codeExecution", "oh", is_error=True),
        ToolCall("2", "GOOGLE_SEARCH", '{"q":"x"}', server=True),
        ToolResult("GOOGLE_SEARCH", "b"),
    )


def test_unknown_parts_are_told_apart():
    """By name and content; a signature is no content."""
    one, same, other = parts({"new_part": 1, "thoughtSignature": "E"}, {"new_part": 1}, {"n": 2})
    assert one == same
    assert (one.type, other.type) == ("newPart", "n")
    assert isinstance(other, Other)
    assert one.digest != other.digest
