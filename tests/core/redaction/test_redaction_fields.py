"""Header fields and query strings."""

from __future__ import annotations

import pytest

from perimeter import redaction


X = "x1Y2" * 8
STARS = "*" * len(X)


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        ("authorization", f"Bearer sk-proj-{X}", f"Bearer sk-proj-{STARS}"),
        ("Authorization", f"Bearer {X}", f"Bearer {STARS}"),
        ("authorization", "Basic YTpi", "Basic ****"),
        ("authorization", "hunter", "******"),
        ("proxy-authorization", "Bearer abc", "Bearer ***"),
        ("x-api-key", f"sk-ant-api03-{X}", f"sk-ant-api03-{STARS}"),
        ("x-api-key", "sk-short", "********"),
        ("api-key", X, STARS),
        ("x-goog-api-key", f"AIza{X}", f"AIza{STARS}"),
        ("x-amz-security-token", "abc", "***"),
        ("x-perimeter-token", "open sesame", "open ******"),
        ("x-csrf-token", "abc", "***"),
        ("x-acme-secret", "abc", "***"),
        ("www-authenticate", "Bearer realm", "Bearer *****"),
        ("cookie", "a=b; session=abc", "a=*; session=***"),
        ("cookie", "opaque", "******"),
        ("set-cookie", "id=abc=d; Path=/; HttpOnly", "id=*****; Path=/; HttpOnly"),
        ("location", "https://a/b?x=1&sig=abc", "https://a/b?x=1&sig=***"),
        ("referer", f"https://a/b?q=sk-{X}", f"https://a/b?q=sk-{STARS}"),
        ("sec-websocket-protocol", f"realtime, openai-insecure-api-key.sk-{X}",
         f"realtime, openai-insecure-api-key.sk-{STARS}"),
    ],
)  # fmt: skip
def test_credentials_are_masked(name, value, masked):
    """Fields that carry credentials are masked by name, others by what their values look like."""
    fields = ((name.encode(), value.encode()),)

    assert redaction.headers(fields) == ((name.encode(), masked.encode()),)
    assert redaction.headers(redaction.headers(fields)) == redaction.headers(fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("openai-organization", f"org-{X}"),
        ("openai-project", f"proj_{X}"),
        ("anthropic-version", "2023-06-01"),
        ("idempotency-key", X),
        ("x-request-id", f"req_{X}"),
        ("x-ratelimit-remaining-tokens", "149984"),
        ("user-agent", "OpenAI/Python 1.99.0 (sk-learn)"),
        ("content-type", "application/json"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ],
)
def test_other_fields_stay(name, value):
    """What says who, when and how much is no secret."""
    fields = ((name.encode(), value.encode()),)

    assert redaction.headers(fields) == fields


@pytest.mark.parametrize(
    ("query", "masked"),
    [
        ("key=abc&alt=sse", "key=***&alt=sse"),
        ("a=1;api_key=abc", "a=1;api_key=***"),
        ("api%5Fkey=abc", "api%5Fkey=***"),
        ("api-key=abc&apikey=de&apiKey=f", "api-key=***&apikey=**&apiKey=*"),
        ("access_token=abc&accessToken=d", "access_token=***&accessToken=*"),
        ("X-Amz-Signature=abc&sig=d&design=e", "X-Amz-Signature=***&sig=*&design=e"),
        ("X-Amz-Credential=a%2Fb&x=c", "X-Amz-Credential=*****&x=c"),
        ("X-Amz-Security-Token=a", "X-Amz-Security-Token=*"),
        ("q=Bearer%20" + X, "q=" + "*" * (len(X) + 9)),
        ("access_token=&flag&n=1", "access_token=&flag&n=1"),
        ("max_tokens=5&pageToken=abc", "max_tokens=5&pageToken=abc"),
        ("monkey=a&author=b&keyboard=c", "monkey=a&author=b&keyboard=c"),
        ("sk-" + X, "sk-" + STARS),
        ("key=***", "key=***"),
        ("", ""),
    ],
)  # fmt: skip
def test_query_values_are_masked_by_name_and_by_shape(query, masked):
    """Values of parameters that sound secret go, and so do values that look secret."""
    assert redaction.query(query) == masked
