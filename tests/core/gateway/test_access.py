"""Tokens, foreign pages and credentials."""

from __future__ import annotations

import hashlib

import pytest

from perimeter.options import Secret
from perimeter.settings import UpstreamSettings


def get(*fields: str, path: str = "/v1/models", host: str = "127.0.0.1") -> bytes:
    """Return a raw GET request."""
    lines = [f"GET {path} HTTP/1.1", f"host: {host}", "connection: close", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def status(proxy, *fields: str, **options: str) -> int:
    """Return the status of the answer to a request."""
    return int((await proxy.request(get(*fields, **options))).split()[1])


@pytest.mark.parametrize("hashed", [True, False])
async def test_client_tokens(start, upstream, hashed):
    """Where tokens are set, a request needs one of them, and the upstream never sees it."""
    token = hashlib.sha256(b"open").hexdigest() if hashed else "open"
    tokens = [Secret(f"sha256:{token}" if hashed else token)]
    proxy = await start(server={"tokens": tokens})

    assert await status(proxy) == 401
    assert await status(proxy, "x-perimeter-token: wrong") == 401
    assert await status(proxy, "authorization: Bearer open") == 401
    assert await status(proxy, "x-perimeter-token: open") == 200
    assert not upstream.requests[0].header("x-perimeter-token")


async def test_token_in_place_of_a_credential(start, upstream):
    """Where our key replaces the client's, the client's credential may be the token."""
    proxy = await start(server={"tokens": [Secret("open")]}, api_key=Secret("ours"))

    assert await status(proxy, "authorization: Bearer open") == 200
    assert await status(proxy, "authorization: Bearer shut") == 401
    assert upstream.requests[0].header("authorization") == ["Bearer ours"]


@pytest.mark.parametrize(
    ("fields", "host", "expected"),
    [
        ([], "127.0.0.1:4000", 200),
        ([], "localhost", 200),
        ([], "evil.example", 403),
        (["origin: http://evil.example"], "localhost", 403),
        (["origin: null"], "localhost", 403),
        (["origin: http://localhost:3000"], "localhost", 200),
        (["sec-fetch-site: cross-site"], "localhost", 403),
        (["sec-fetch-site: same-origin"], "localhost", 200),
        (["origin: https://ours.example"], "ours.example", 200),
    ],
)
async def test_foreign_pages(start, fields, host, expected):
    """With a key of ours, a browser's cross-site request is refused, also on loopback."""
    proxy = await start(server={"allowed_hosts": ["ours.example"]}, api_key=Secret("ours"))

    assert await status(proxy, *fields, host=host) == expected


async def test_foreign_pages_may_use_their_own_key(start):
    """Without a key of ours there is nothing to steal, and nothing is refused."""
    proxy = await start()

    assert await status(proxy, "origin: http://evil.example", host="evil.example") == 200


@pytest.mark.parametrize(
    ("policy", "sent", "arrived"),
    [
        ("", "Bearer theirs", ["Bearer ours"]),
        ("override", "Bearer theirs", ["Bearer ours"]),
        ("fallback", "Bearer theirs", ["Bearer theirs"]),
        ("fallback", "", ["Bearer ours"]),
        ("passthrough", "Bearer theirs", ["Bearer theirs"]),
        ("passthrough", "", []),
    ],
)
async def test_credentials(start, upstream, policy, sent, arrived):
    """The policy says whose key goes upstream."""
    proxy = await start(api_key=Secret("ours"), credentials=policy)

    await proxy.request(get(*([f"authorization: {sent}"] if sent else [])))

    assert upstream.requests[0].header("authorization") == arrived
    assert all(b"ours" not in value for _, value in proxy.log.endings[0].request.headers)


async def test_anthropic_override_replaces_both_headers(start, upstream):
    """A client's x-api-key and Authorization both give way to ours."""
    proxy = await start(type="anthropic", api_key=Secret("ours"))

    await proxy.request(get("x-api-key: a", "authorization: Bearer b"))

    assert upstream.requests[0].header("x-api-key") == ["ours"]
    assert upstream.requests[0].header("authorization") == []


async def test_gemini_override_replaces_the_query_key(start, upstream):
    """A client's key in the query gives way to ours; the rest of the query is untouched."""
    proxy = await start(type="gemini", api_key=Secret("ours"))

    await proxy.request(get(path="/v1beta/models?a=%41&key=theirs&b"))

    assert upstream.requests[0].line == "GET /v1beta/models?a=%41&b HTTP/1.1"
    assert upstream.requests[0].header("x-goog-api-key") == ["ours"]


async def test_own_header_for_the_key(start, upstream):
    """`api_key_header` names the header that an Azure-like server wants."""
    proxy = await start(api_key=Secret("ours"), api_key_header="api-key")

    await proxy.request(get("authorization: Bearer theirs"))

    assert upstream.requests[0].header("api-key") == ["ours"]
    assert upstream.requests[0].header("authorization") == []


async def test_routing(start, upstream):
    """Requests find their upstream by name, prefix, dialect, or go to the default one."""
    tables = {
        "first": UpstreamSettings(type="openai", base_url=upstream.url + "/one/v1"),
        "claude": UpstreamSettings(type="anthropic", base_url=upstream.url + "/two"),
        "azure": UpstreamSettings(type="openai", base_url=upstream.url + "/three", prefix="/az"),
    }
    proxy = await start(upstreams=tables)
    paths = {
        "/v1/chat/completions": "/one/v1/chat/completions",
        "/v1/messages": "/two/v1/messages",
        "/v1/models": "/one/v1/models",
        "/az/v1/chat/completions": "/three/v1/chat/completions",
        "/azure": "/one/v1/azure",
        "/-/to/claude/v1/models": "/two/v1/models",
        "/agent-workflow/flow-1/v1/messages": "/two/v1/messages",
        "/agent-workflow/flow-1/-/to/azure/x": "/three/x",
        "/openai/v1/chat/completions": "/one/v1/openai/v1/chat/completions",
    }
    for sent in paths:
        await proxy.request(get(path=sent).replace(b"GET", b"POST"))

    assert [each.line.split()[1] for each in upstream.requests] == list(paths.values())
    flows = [each.workflow_id for each in proxy.log.endings]
    assert flows == [None] * 6 + ["flow-1"] * 2 + [None]


async def test_shared_paths_are_decided_by_headers(start, upstream):
    """`/v1/models` belongs to Anthropic's clients where their header says so."""
    tables = {
        "first": UpstreamSettings(type="openai", base_url=upstream.url + "/one"),
        "claude": UpstreamSettings(type="anthropic", base_url=upstream.url + "/two"),
    }
    proxy = await start(upstreams=tables)

    await proxy.request(get("anthropic-version: 2023-06-01"))
    await proxy.request(get())

    targets = [each.line.split()[1] for each in upstream.requests]
    assert targets == ["/two/v1/models", "/one/v1/models"]


@pytest.mark.parametrize("path", ["/-/", "/-/nothing", "/-/to/nobody/v1", "/agent-workflow/a/-/x"])
async def test_reserved_paths_are_never_proxied(start, upstream, path):
    """What begins with /-/ and leads nowhere is 404 and no exchange."""
    proxy = await start()

    assert await status(proxy, path=path) == 404
    assert not upstream.requests
    assert not proxy.log.calls
