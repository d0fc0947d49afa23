"""Agents that make traffic for tests, and findings about them."""

from __future__ import annotations

from typing import Any

import attrs


NOW = 1_790_000_000.0
"""When nothing else is said: 21 September 2026, 13:33:20 UTC."""

Json = dict[str, Any]

PRICES = {
    "gpt-4.1": (2.0, 8.0),
    "gpt-4.1-mini": (0.4, 1.6),
    "claude-sonnet-4-5": (3.0, 15.0),
    "claude-haiku-4-5": (1.0, 5.0),
    "gemini-2.5-pro": (1.25, 10.0),
    "o4-mini": (1.1, 4.4),
}
"""USD for a million tokens, in and out."""


@attrs.frozen
class Agent:
    """An agent that makes calls."""

    key: str
    workflow: str
    dialect: str
    upstream: str
    model: str
    system: str
    tools: tuple[str, ...]
    asks: tuple[str, ...]
    stream: bool = False


AGENTS = (
    Agent(
        "support-triage",
        "helpdesk",
        "openai.chat",
        "openai",
        "gpt-4.1",
        "You sort support tickets, look up the customer, and answer in plain words.",
        ("lookup_customer", "search_tickets", "send_reply"),
        (
            "A customer says that invoice 4711 was charged twice. What do we tell them?",
            "Sort these three tickets by urgency and say why.",
            "Wo bleibt meine Bestellung? Bitte antworten Sie auf Deutsch.",
            "Draft an apology for yesterday's outage; keep it under eighty words.",
        ),
    ),
    Agent(
        "code-reviewer",
        "engineering",
        "anthropic.messages",
        "anthropic",
        "claude-sonnet-4-5",
        "You review pull requests. Read the diff first, then the tests. Be brief.",
        ("read_file", "run_tests", "list_directory"),
        (
            "Review the change to the retry logic in upstream/transport.py.",
            "Why does test_shutdown hang once in a hundred runs?",
            "Is this regular expression safe against catastrophic backtracking?",
        ),
        stream=True,
    ),
    Agent(
        "research-assistant",
        "analysis",
        "openai.responses",
        "openai",
        "o4-mini",
        "You collect sources and weigh them against each other.",
        ("web_search", "fetch_page"),
        (
            "Which papers measure the cost of prompt caching?",
            "東京の天気と台風の進路を教えてください。",
            "Compare the three largest vector databases by licence and by speed.",
        ),
    ),
    Agent(
        "data-analyst",
        "analysis",
        "gemini.generate",
        "gemini",
        "gemini-2.5-pro",
        "You answer questions about the sales database with SQL and one short sentence.",
        ("run_sql",),
        (
            "How did revenue develop per region in the last quarter?",
            "Which customers have not ordered for ninety days?",
        ),
    ),
    Agent(
        "mail-summariser",
        "helpdesk",
        "anthropic.messages",
        "anthropic",
        "claude-haiku-4-5",
        "Summarise e-mails in three bullet points.",
        (),
        (
            "Summarise the thread about the office move.",
            "สรุปอีเมลฉบับนี้ให้หน่อย",
        ),
    ),
    Agent(
        "planner",
        "engineering",
        "openai.chat",
        "openai",
        "gpt-4.1-mini",
        "You break work into steps and hand them to other agents.",
        ("create_task", "list_tasks"),
        ("Plan the migration from SQLite to PostgreSQL.", "What is left to do this week?"),
        stream=True,
    ),
)

FINDINGS: tuple[Json, ...] = (
    {
        "finding.rule": "prompt-injection",
        "finding.title": "Instructions inside a tool result",
        "finding.severity": "critical",
        "finding.owasp": "LLM01",
        "finding.detector": "injection",
        "finding.confidence": 0.93,
        "finding.evidence": {
            "ptr": "/messages/3/content",
            "start": 4,
            "end": 31,
            "text_sha": "ab" * 16,
            "sample": "ignore all earlier instructions",
        },
    },
    {
        "finding.rule": "pii.email",
        "finding.title": "An e-mail address goes to the provider",
        "finding.severity": "medium",
        "finding.owasp": "LLM02",
        "finding.detector": "pii",
        "finding.confidence": 0.8,
        "finding.evidence": {"ptr": "/messages/1/content", "start": 0, "end": 5, "sample": "a***"},
    },
    {
        "finding.rule": "excessive-agency",
        "finding.title": "The same tool was called with the same arguments nine times",
        "finding.severity": "high",
        "finding.owasp": "LLM06",
        "finding.detector": "loops",
        "finding.confidence": 0.7,
        "finding.evidence": {"ptr": "", "sample": "run_sql, 9 times"},
    },
    {
        "finding.rule": "unbounded-consumption",
        "finding.title": "No limit for the length of the answer",
        "finding.severity": "low",
        "finding.owasp": "LLM10",
        "finding.detector": "resources",
        "finding.confidence": 1.0,
    },
)
