"""Sessions of a large database of live trace; see `live_trace_data`."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from live_trace_rows import (
    MODELS,
    NODES,
    RULES,
    SESSION_MODELS,
    SESSION_TOOLS,
    TAGS,
    TEXTS,
    TOOLS,
    Maker,
)

from perimeter_plugin_live_trace.store import Histogram, rows
from perimeter_plugin_live_trace.store.search import index_words


class Talk:
    """One session, as it is made."""

    def __init__(self, maker: Maker, number: int, started_us: int) -> None:
        self.maker, self.rng = maker, maker.rng
        self.agent = maker.agents[min(39, int(self.rng.paretovariate(0.8)) - 1)]
        self.model = self.rng.choice(MODELS)
        self.at = started_us
        self.row = rows.SESSIONS.row(
            id=number,
            public_id=f"{number:08x}-{self.rng.getrandbits(48):012x}",
            agent_id=self.agent.id,
            workflow=self.agent.workflow,
            started_us=started_us,
            last_us=started_us,
            models=self.model,
            match="new",
            rev=number,
            calls_hist=Histogram(),
        )
        self.tools: dict[str, list[int]] = {}
        self.found: set[tuple[str, int]] = set()
        self.node: int | None = None
        self.chain = b""
        self.depth = 0

    def run(self, events: int) -> None:
        self.event("session.start", self.model)
        while self.row.events < events - 1:
            self.turn()
        old = self.maker.now_us - self.at > 1_800_000_000
        if old:
            self.event("session.end", "")
        self.close(old=old)

    def turn(self) -> None:
        row, rng = self.row, self.rng
        row.turns += 1
        carried = self.depth
        asked, blob, _ = rng.choice(self.maker.asked)
        row.title = row.title or asked[:120]
        self.append(blob)
        call_id = self.maker.load.id("calls")
        start = self.event("llm.call.start", self.model, asked, call_id=call_id)
        started_us, node, depth = self.at, self.node, self.depth
        took = int(rng.lognormvariate(14.2, 0.8))
        self.at += took
        failed = rng.random() < 0.02
        said, blob, answer = rng.choice(self.maker.said)
        tok_in, tok_out = 200 + 60 * depth, len(said) // 4
        cached = tok_in * 3 // 4 if carried else 0
        cost = tok_in * 400 + tok_out * 1600
        numbers = {"dur_us": took, "tok_in": tok_in, "tok_out": tok_out, "tok_cached": cached}
        end = self.event(
            "llm.call.error" if failed else "llm.call.finish",
            self.model,
            said,
            call_id=call_id,
            status="error" if failed else "ok",
            finish="" if failed else "stop",
            cost_nano=cost,
            **numbers,
        )
        self.add(tok_in, tok_out, cached, cost, took, failed=failed)
        call = rows.CALLS.row(
            id=call_id,
            exchange=f"{call_id:024x}",
            session_id=row.id,
            agent_id=self.agent.id,
            number=row.turns,
            start_seq=start,
            end_seq=end,
            upstream="openai",
            dialect="openai.chat",
            operation="chat",
            target="/v1/chat/completions",
            model=self.model,
            state="error" if failed else "ok",
            outcome="completed",
            http_status=500 if failed else 200,
            error="The server had an error." if failed else "",
            started_us=started_us,
            cost_nano=cost,
            envelope_blob=self.maker.envelopes[MODELS.index(self.model)],
            list_key="messages",
            node_id=node,
            messages=depth,
            carried=carried,
            response_blob=answer,
            request_headers_blob=self.maker.headers,
            response_headers_blob=self.maker.headers,
            request_size=depth * 300,
            response_size=len(said) + 200,
            ttft_us=took // 4,
            finish="" if failed else "stop",
            **numbers,
        )
        self.maker.load.add(rows.CALLS.insert, rows.CALLS.values(call))
        if not failed:
            self.append(blob)
        if rng.random() < 0.5:
            self.tool(call_id)
        if rng.random() < 0.015:
            self.finding(call_id)
        self.at += int(rng.expovariate(1 / 8_000_000))

    def tool(self, call_id: int) -> None:
        name = self.rng.choice(TOOLS)
        text = self.rng.choice(self.maker.told)
        self.event("tool.execution", name, text, call_id=call_id)
        took = int(self.rng.lognormvariate(12.0, 1.0))
        self.at += took
        failed = self.rng.random() < 0.05
        status = "error" if failed else "ok"
        self.event("tool.result", name, text, call_id=call_id, status=status, dur_us=took)
        counts = self.tools.setdefault(name, [0, 0])
        counts[0] += 1
        counts[1] += failed
        self.row.tools += 1
        self.row.errors += failed
        self.row.tool_us += took
        self.maker.count(
            "tool", self.at, self.agent.id, name, calls=1, errors=int(failed), lat_us=took
        )

    def finding(self, call_id: int) -> None:
        rule, owasp, severity = self.rng.choice(RULES)
        title = f"{rule} was found"
        self.event("security.finding", rule, title, call_id=call_id, status="warning")
        key = (rule, self.agent.id)
        group = self.maker.groups.get(key)
        if group is None:
            group = self.maker.groups[key] = rows.GROUPS.row(
                id=self.maker.load.id("finding_groups"),
                rule=rule,
                agent_id=self.agent.id,
                owasp=owasp,
                sev=severity,
                title=title,
                first_us=self.at,
                last_us=self.at,
            )
        group.count += 1
        group.last_us = max(group.last_us, self.at)
        group.sessions += key not in self.found
        self.found.add(key)
        finding = rows.FINDINGS.row(
            id=self.maker.load.id("findings"),
            group_id=group.id,
            session_id=self.row.id,
            event_id=self.maker.load.ids["events"],
            agent_id=self.agent.id,
            rule=rule,
            owasp=owasp,
            sev=severity,
            title=title,
            detector="bench",
            created_us=self.at,
        )
        self.maker.load.add(rows.FINDINGS.insert, rows.FINDINGS.values(finding))
        self.row.findings += 1
        self.row.pii += rule.startswith("pii")
        self.row.sev = max(self.row.sev, severity)
        self.row.risk = min(100, self.row.sev * 22 + self.row.findings)

    def event(self, kind: str, name: str, text: str = "", **more: Any) -> int:
        """Add an event; return its number in the session."""
        row = self.row
        row.events += 1
        row.last_seq += 1
        event_id = self.maker.load.id("events")
        event = rows.EVENTS.row(
            id=event_id,
            session_id=row.id,
            seq=row.last_seq,
            agent_id=self.agent.id,
            ts_us=self.at,
            kind=kind,
            name=name,
            span=f"{event_id:016x}",
            size=120,
            preview=text[:160],
            attributes_blob=self.rng.choice(self.maker.attributes),
            **more,
        )
        self.maker.load.add(rows.EVENTS.insert, rows.EVENTS.values(event))
        if text:
            self.maker.load.add(TEXTS, (event_id, index_words(text)))
        return int(row.last_seq)

    def append(self, blob_id: int) -> None:
        """Add a message to the history."""
        node = self.maker.load.id("nodes")
        self.depth += 1
        made = blake2b(self.chain + blob_id.to_bytes(8, "big"), digest_size=16)
        self.chain = made.digest()
        row = (node, self.row.id, self.node, self.depth, self.chain, blob_id)
        self.maker.load.add(NODES, row)
        self.node = node

    def add(
        self, tok_in: int, tok_out: int, cached: int, cost: int, took: int, *, failed: bool
    ) -> None:
        for row in (self.row, self.agent):
            row.tok_in += tok_in
            row.tok_out += tok_out
            row.cost_nano += cost
            row.errors += failed
        self.row.tok_cached += cached
        self.row.llm_us += took
        self.row.calls_hist.add(took)
        self.agent.calls += 1
        self.maker.count(
            "llm",
            self.at,
            self.agent.id,
            self.model,
            calls=1,
            errors=int(failed),
            tok_in=tok_in,
            tok_out=tok_out,
            tok_cached=cached,
            cost_nano=cost,
            lat_us=took,
        )

    def close(self, *, old: bool) -> None:
        row, load = self.row, self.maker.load
        row.last_us = self.at
        row.status = "done" if old else "active"
        row.hist = row.calls_hist.to_bytes()
        row.p95_us = row.calls_hist.quantile(0.95) or 0
        self.agent.sessions += 1
        self.agent.last_us = max(self.agent.last_us, self.at)
        self.agent.first_us = min(self.agent.first_us, row.started_us)
        load.add(rows.SESSIONS.insert, rows.SESSIONS.values(row))
        load.add(SESSION_MODELS, (self.model, row.id, row.turns))
        for tool, counts in self.tools.items():
            load.add(SESSION_TOOLS, (tool, row.id, *counts))
        load.add(TAGS, ("team", f"team-{row.id % 12}", row.id))
        if row.id % 3 == 0:
            load.add(TAGS, ("env", "production" if row.id % 2 else "staging", row.id))
