"""A replay through everything that users run: proxy, live-trace process, provider."""

from __future__ import annotations

import httpx
from api_parts import form_token, words
from traced import traced


def test_a_replay_through_the_whole(tmp_path, monkeypatch):
    """A call that the proxy recorded is sent again from its page, and is recorded as well."""
    with traced(tmp_path, monkeypatch) as trace:
        trace.proxy.line().chat("hello")
        trace.wait_for_calls(1)
        ((session,),) = trace.rows("SELECT public_id FROM sessions")
        page = f"/sessions/{session}/calls/1/replay"
        with httpx.Client(base_url=trace.url, timeout=30) as client:
            shown = client.get(page)
            draft = client.get(f"{page}.json").json()["draft"]
            fields = {name: value or "" for name, value in draft.items()}
            fields |= {"csrf": form_token(shown.text), "system": "Be brief."}
            result = client.post(page, data=fields, follow_redirects=True)

        rows = trace.rows("SELECT exchange, replay_of FROM calls ORDER BY id")
    assert result.history[0].status_code == 303, words(result.text)
    assert "reply 2" in result.text, "the provider got the system prompt besides"
    assert rows[1][1] == rows[0][0]
