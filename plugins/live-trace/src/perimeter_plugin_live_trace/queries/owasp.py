"""The OWASP Top 10 for LLM applications, 2025: what each risk is, and what a proxy sees of it."""

from __future__ import annotations

import msgspec


class Risk(msgspec.Struct, frozen=True):
    """
    One of the ten.

    Attributes:
        key: Such as `LLM01`.
        name: What it is called.
        about: What it is, in a sentence.
        why: Why it matters.
        fix: What helps.
        at_runtime: Whether traffic shows it; what is false here needs an analysis of code and data.
    """

    key: str
    name: str
    about: str
    why: str
    fix: str
    at_runtime: bool = True


RISKS = (
    Risk(
        "LLM01",
        "Prompt injection",
        "Text that the model reads changes what it was told to do.",
        "Whoever writes a web page, a file or a tool's result can make the agent act for them.",
        "Mark foreign text as data, give tools the least rights, and let people confirm what"
        " cannot be undone.",
    ),
    Risk(
        "LLM02",
        "Sensitive information disclosure",
        "Secrets or personal data go to the provider or to a user who should not have them.",
        "What was sent cannot be called back, and may be stored or used for training elsewhere.",
        "Mask what is not needed before it is sent, and keep keys out of prompts.",
    ),
    Risk(
        "LLM03",
        "Supply chain",
        "Models, adapters, packages or tools come from somebody who changed them.",
        "A changed part acts with all the rights of the whole.",
        "Pin versions, check signatures, and keep a list of what is in use.",
        at_runtime=False,
    ),
    Risk(
        "LLM04",
        "Data and model poisoning",
        "Training or fine-tuning data was changed to make the model misbehave.",
        "The fault is in the weights: no prompt removes it.",
        "Know where data comes from, and test models before they are used.",
        at_runtime=False,
    ),
    Risk(
        "LLM05",
        "Improper output handling",
        "What the model says is run, rendered or stored without a check.",
        "An answer becomes a script in a browser, a query or a shell command.",
        "Treat answers as input from a stranger: escape, parameterise, validate.",
    ),
    Risk(
        "LLM06",
        "Excessive agency",
        "The agent may do more than its task needs.",
        "A mistake or an injection then reaches everything that the agent reaches.",
        "Offer fewer tools, narrow what they may do, and ask people before what is costly.",
    ),
    Risk(
        "LLM07",
        "System prompt leakage",
        "The system prompt holds what users must not know, and gets out.",
        "Rules that were meant to be hidden can be worked around; keys in it can be used.",
        "Keep secrets and access rules outside the prompt.",
    ),
    Risk(
        "LLM08",
        "Vector and embedding weaknesses",
        "A retrieval index gives out or takes in what it should not.",
        "Documents of one tenant show up with another, or planted ones steer answers.",
        "Check rights when retrieving, and know who writes to the index.",
        at_runtime=False,
    ),
    Risk(
        "LLM09",
        "Misinformation",
        "The model states what is not so, and it is believed.",
        "Decisions, code and advice rest on it.",
        "Ground answers in sources, show them, and have people check what matters.",
    ),
    Risk(
        "LLM10",
        "Unbounded consumption",
        "Calls, tokens or loops without a limit.",
        "Costs and outages, and a way to copy the model by asking it often enough.",
        "Limit calls, tokens and depth for each session, and stop loops.",
    ),
)

BY_KEY = {risk.key: risk for risk in RISKS}
