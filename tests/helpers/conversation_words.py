"""Sentences for synthetic conversations: made from word lists, alike in tone, seldom the same."""

from __future__ import annotations

from random import Random


ROLES = (
    "a support agent", "a research assistant", "a travel planner", "a code reviewer", "a tutor",
    "a data analyst", "a recipe assistant", "a release manager", "a legal assistant",
    "a scheduler",
)  # fmt: skip
COMPANIES = (
    "Northwind", "Blue Harbour", "Acorn Labs", "Ferrum", "Lumen Travel", "Quillworks",
    "Mistral Bay", "Orchard & Sons", "Tidewater", "Hillcrest",
)  # fmt: skip
RULES = (
    "Answer briefly and in the language of the user.",
    "Cite the document that a fact comes from.",
    "Never promise a refund.",
    "Use the tools that you have before you guess.",
    "Ask back when a question is ambiguous.",
    "Write dates as day, month and year.",
    "Keep to the facts; say so when you do not know.",
    "Return code in fenced blocks.",
)
SUBJECTS = (
    "the invoice", "our second warehouse", "the nightly import", "the old contract", "the budget",
    "the Lisbon office", "the quarterly report", "the night train", "the new parser", "the cache",
    "the sourdough starter", "the test suite", "the staging cluster", "the tenancy agreement",
    "the museum ticket", "the customer's account", "the second paragraph", "this function",
    "the onboarding plan", "that shipment",
)  # fmt: skip
VERBS = (
    "depends on", "was moved behind", "does not match", "has to wait for", "is cheaper than",
    "replaces", "was checked against", "contradicts", "is part of", "should come before", "blocks",
    "is covered by", "was shortened after", "refers to", "is slower than", "will be merged with",
)  # fmt: skip
OBJECTS = (
    "the figures of last March", "what the client signed", "a cheaper supplier", "the index",
    "the regional holiday", "the export job", "the list of open tickets", "the second migration",
    "the weather on the coast", "the old schema", "the museum's opening hours", "the retry limit",
    "a clause on late payment", "the branch that was deleted", "the flour you use", "the fallback",
    "the review of the auditors", "the timetable of the ferry", "the error in the log",
    "the budget for travel", "the owner's consent", "the memory limit", "the upper floor",
)  # fmt: skip
TAILS = (
    "so it can wait until Monday", "which explains the difference", "as far as I can see",
    "unless somebody changes it by hand", "and nobody has noticed so far", "which is unusual",
    "because two of them overlap", "at least on paper", "in most cases", "so keep both for now",
    "and that costs about an hour", "if the numbers are right", "which the notes do not mention",
)  # fmt: skip
PREAMBLES = ("Of course! ", "Sure. ", "Good question. ", "Here is what I found:\n\n", "I see. ")
ENDINGS = (
    " Let me know if you need anything else.",
    "\n\nIs there anything else I can help you with?",
    " I hope this helps!",
)
SHORT_ANSWERS = (
    "Yes.", "No.", "4", "Done.", "42", "OK", "Paris", "True", "It depends.", "Both.", "Yes", "17 %",
    "Not yet.", "Tuesday.", "None of them.", "🙂", "東京", "Ja.",
)  # fmt: skip
QUESTIONS = (
    "Why is it that {} {} {}?", "Can you check whether {} {} {}?", "What happens if {} {} {}?",
    "Write two sentences: {} {} {}.", "Is it true that {} {} {}?", "Explain how {} {} {}.",
    "How do I tell my team that {} {} {}?",
)  # fmt: skip
GREETINGS = ("Hi", "Hello!", "What is 2+2?", "Tell me a joke.", "Help", "hey, are you there?")
FOLLOW_UPS = (
    "Thanks. And now?", "Go on.", "Why?", "Yes, please.", "Are you sure?", "Shorter, please.",
    "And the other one?", "ok", "Please do it.", "In German, please.", "Can you show an example?",
)  # fmt: skip
CITIES = ("Lisbon", "Oslo", "Turin", "Ghent", "Kraków", "Porto", "Bergen", "Malmö", "Graz", "Lyon")
SUMMARIES = (
    "This session is continued from an earlier one. Summary: ",
    "Summary of the conversation so far: ",
    "<summary>\n",
)


class Writer:
    """Writes texts; what it calls distinct it writes only once."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._written: set[str] = set()

    def clause(self) -> str:
        """Return who does what to whom."""
        choice = self._rng.choice
        return f"{choice(SUBJECTS)} {choice(VERBS)} {choice(OBJECTS)}"

    def sentence(self) -> str:
        """Return one sentence."""
        text = f"{self.clause()}, {self._rng.choice(TAILS)}."
        return text[0].upper() + text[1:]

    def system(self) -> str:
        """Return a system prompt that no other has."""
        choice, sample = self._rng.choice, self._rng.sample
        rules = " ".join(sample(RULES, self._rng.randint(1, 4)))
        return self._distinct(
            lambda: (
                f"You are {choice(ROLES)} of {choice(COMPANIES)}. {rules} "
                f"Bear in mind that {self.clause()}."
            )
        )

    def question(self) -> str:
        """Return a first question that no other has."""
        choice = self._rng.choice
        return self._distinct(
            lambda: choice(QUESTIONS).format(choice(SUBJECTS), choice(VERBS), choice(OBJECTS))
        )

    def follow_up(self) -> str:
        """Return what a user says next; often something that everybody says."""
        if self._rng.random() < 0.4:
            return self._rng.choice(FOLLOW_UPS)
        choice = self._rng.choice
        return choice(QUESTIONS).format(choice(SUBJECTS), choice(VERBS), choice(OBJECTS))

    def answer(self) -> str:
        """Return an answer of some sentences that no other is, with the usual frills."""
        rng = self._rng
        body = self._distinct(
            lambda: " ".join(self.sentence() for _ in range(rng.choice((1, 2, 2, 3, 4, 6))))
        )
        before = rng.choice(PREAMBLES) if rng.random() < 0.4 else ""
        after = rng.choice(ENDINGS) if rng.random() < 0.3 else ""
        space = rng.choice(("\n", " ", "\n\n")) if rng.random() < 0.1 else ""
        return before + body + after + space

    def short_answer(self) -> str:
        """Return an answer that many conversations share."""
        return self._rng.choice(SHORT_ANSWERS)

    def _distinct(self, write: object) -> str:
        assert callable(write)
        text = str(write())
        while text in self._written:
            text = str(write())
        self._written.add(text)
        return text


def edited(text: str, rng: Random) -> str:
    """Return an answer as somebody corrects it: most of it stays as it was."""
    words = text.split(" ")
    how = rng.randrange(3)
    if how == 0:  # a word in the middle
        words[len(words) // 2] = "somewhat"
        return " ".join(words)
    if how == 1:  # the end is cut off
        return " ".join(words[: max(6, len(words) * 3 // 4)])
    return f"{text.rstrip()} (Corrected by the author.)"
