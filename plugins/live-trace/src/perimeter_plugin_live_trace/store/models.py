"""
The tables.

Rows of `Event` are only ever added; sessions, calls and agents hold totals that are kept up to date
on write, so that no page has to add anything up. Times are microseconds of Unix time (`_us`),
durations microseconds, costs whole billionths of a dollar (`_nano`): integers compare and add
exactly. No column needs anything that PostgreSQL has not.

The models belong to no database: `Reader` and `Writer` say which one a query is for.
"""

from __future__ import annotations

import peewee
from peewee import (
    AutoField,
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    FloatField,
    IntegerField,
    Model,
    TextField,
)


class Meta(Model):
    """What the database says of itself: `version`, `key`, `rev`, `created_us`."""

    name = TextField(primary_key=True)
    value = TextField()

    class Meta:
        table_name = "meta"
        without_rowid = True


class Agent(Model):
    """One agent: a system prompt, or a name that clients give."""

    id = AutoField()
    key = TextField(unique=True)
    """Its id in events."""
    name = TextField(default="")
    """What people call it; "" as long as nobody has said."""
    workflow = TextField(default="")
    prompt_blob = IntegerField(null=True)
    """The newest system prompt."""
    tools = TextField(default="[]")
    """JSON list of the names of tools that were offered to it."""
    first_us = BigIntegerField()
    last_us = BigIntegerField()
    sessions = IntegerField(default=0)
    calls = IntegerField(default=0)
    errors = IntegerField(default=0)
    """Calls that failed."""
    tok_in = BigIntegerField(default=0)
    tok_out = BigIntegerField(default=0)
    cost_nano = BigIntegerField(default=0)
    rev = BigIntegerField(default=0)

    class Meta:
        table_name = "agents"
        indexes = ((("last_us", "id"), False), (("workflow", "id"), False), (("rev",), False))


class Session(Model):
    """One conversation, with its totals."""

    id = AutoField()
    public_id = TextField(unique=True)
    """Its id in events, as clients may have sent it."""
    agent_id = IntegerField(null=True)
    workflow = TextField(default="")
    run = TextField(default="")
    title = TextField(default="")
    """The first words of the user, masked, 120 characters at most."""
    started_us = BigIntegerField()
    last_us = BigIntegerField()
    status = TextField(default="active")
    """`active`, `done` or `error` (the last call failed); `stalled` is worked out on reading."""
    turns = IntegerField(default=0)
    """Calls."""
    running = IntegerField(default=0)
    """Calls that are under way."""
    events = IntegerField(default=0)
    tools = IntegerField(default=0)
    """Tool executions."""
    errors = IntegerField(default=0)
    """Calls that failed, and tools that did."""
    tok_in = BigIntegerField(default=0)
    tok_out = BigIntegerField(default=0)
    tok_cached = BigIntegerField(default=0)
    cost_nano = BigIntegerField(default=0)
    unpriced = IntegerField(default=0)
    """Calls of which the cost is not known."""
    llm_us = BigIntegerField(default=0)
    tool_us = BigIntegerField(default=0)
    p95_us = BigIntegerField(default=0)
    hist = BlobField(default=b"")
    """The latencies of its calls, see `histogram`."""
    risk = IntegerField(default=0)
    sev = IntegerField(default=0)
    """The worst open finding: 0 none, 1 low, 2 medium, 3 high, 4 critical."""
    findings = IntegerField(default=0)
    pii = IntegerField(default=0)
    models = TextField(default="")
    """Names, separated by a comma and a blank."""
    match = TextField(default="")
    """Which evidence made it: the method of its first call."""
    last_seq = IntegerField(default=0)
    rev = BigIntegerField(default=0)
    """The number of the last commit that changed it; over all tables, always growing."""

    class Meta:
        table_name = "sessions"
        indexes = (
            (("rev",), False),
            (("last_us", "id"), False),
            (("started_us", "id"), False),
            (("cost_nano", "id"), False),
            (("tok_in", "id"), False),
            (("turns", "id"), False),
            (("errors", "id"), False),
            (("p95_us", "id"), False),
            (("sev", "last_us", "id"), False),
            (("agent_id", "last_us", "id"), False),
            (("status", "last_us", "id"), False),
            (("workflow", "last_us", "id"), False),
        )


class Tag(Model):
    """A label that a client gave a session."""

    key = TextField()
    value = TextField()
    session_id = IntegerField()

    class Meta:
        table_name = "tags"
        primary_key = CompositeKey("key", "value", "session_id")
        without_rowid = True
        indexes = ((("session_id",), False),)


class SessionModel(Model):
    """Which models a session used."""

    model = TextField()
    session_id = IntegerField()
    calls = IntegerField(default=0)

    class Meta:
        table_name = "session_models"
        primary_key = CompositeKey("model", "session_id")
        without_rowid = True
        indexes = ((("session_id",), False),)


class SessionTool(Model):
    """Which tools a session used."""

    tool = TextField()
    session_id = IntegerField()
    calls = IntegerField(default=0)
    errors = IntegerField(default=0)

    class Meta:
        table_name = "session_tools"
        primary_key = CompositeKey("tool", "session_id")
        without_rowid = True
        indexes = ((("session_id",), False),)


class Event(Model):
    """Something that happened. Never changed, but deleted with its session."""

    id = AutoField()
    session_id = IntegerField(null=True)
    seq = IntegerField(default=0)
    """Its number in the session, from 1 on."""
    call_id = IntegerField(null=True)
    agent_id = IntegerField(null=True)
    ts_us = BigIntegerField()
    kind = TextField()
    """Its name, such as `llm.call.finish`."""
    name = TextField(default="")
    """The tool's name, or the model's."""
    span = TextField(default="")
    parent_span = TextField(default="")
    dur_us = BigIntegerField(null=True)
    tok_in = IntegerField(null=True)
    tok_out = IntegerField(null=True)
    tok_cached = IntegerField(null=True)
    cost_nano = BigIntegerField(null=True)
    status = TextField(default="ok")
    """`ok`, `warning` or `error`."""
    finish = TextField(default="")
    size = IntegerField(default=0)
    """Bytes of its attributes as JSON."""
    preview = TextField(default="")
    """What it says in a line: masked, 160 characters at most."""
    attributes_blob = IntegerField(null=True)

    class Meta:
        table_name = "events"
        indexes = (
            (("session_id", "seq"), False),
            (("ts_us", "id"), False),
            (("kind", "id"), False),
            (("call_id",), False),
            (("attributes_blob",), False),
        )


class Call(Model):
    """One exchange with a provider: what was asked, what was answered, how it went."""

    id = AutoField()
    exchange = TextField(unique=True)
    session_id = IntegerField(null=True)
    agent_id = IntegerField(null=True)
    number = IntegerField(default=0)
    """Which call of its session it is, from 1 on."""
    start_seq = IntegerField(default=0)
    """The `seq` of its `llm.call.start`; -1 where it belongs to no session."""
    end_seq = IntegerField(default=0)
    """The `seq` of its `llm.call.finish` or `llm.call.error`; 0 while it runs, -1 as above."""
    upstream = TextField(default="")
    dialect = TextField(default="")
    operation = TextField(default="")
    method = TextField(default="POST")
    target = TextField(default="")
    model = TextField(default="")
    stream = BooleanField(default=False)
    state = TextField(default="running")
    """`running`, `ok` or `error`."""
    outcome = TextField(default="")
    """How the exchange ended, see `perimeter.Outcome`."""
    http_status = IntegerField(null=True)
    finish = TextField(default="")
    error_type = TextField(default="")
    error = TextField(default="")
    retry_of = TextField(default="")
    replay_of = TextField(default="")
    """The exchange that it repeats with changes."""
    match = TextField(default="")
    score = FloatField(null=True)
    started_us = BigIntegerField()
    dur_us = BigIntegerField(null=True)
    ttft_us = BigIntegerField(null=True)
    tok_in = IntegerField(null=True)
    tok_out = IntegerField(null=True)
    tok_cached = IntegerField(null=True)
    tok_cache_write = IntegerField(null=True)
    tok_reasoning = IntegerField(null=True)
    cost_nano = BigIntegerField(null=True)
    envelope_blob = IntegerField(null=True)
    """The request's body without its messages, see `store.bodies`; all of it where it has none."""
    list_key = TextField(default="")
    """The member of the body that the messages were taken from, such as `messages`."""
    node_id = IntegerField(null=True)
    """The last of its messages, see `Node`."""
    messages = IntegerField(default=0)
    """How many messages it sent."""
    carried = IntegerField(default=0)
    """How many of them the call before it had sent, too: its own begin after those."""
    rewritten = BooleanField(default=False)
    """Whether it left out or changed something that the call before it had sent."""
    system_digest = TextField(default="")
    """Of the system prompt; "" for none."""
    response_blob = IntegerField(null=True)
    """The body of the answer, its content-encoding undone."""
    request_headers_blob = IntegerField(null=True)
    response_headers_blob = IntegerField(null=True)
    request_size = IntegerField(default=0)
    response_size = IntegerField(default=0)
    request_cut = BooleanField(default=False)
    response_cut = BooleanField(default=False)
    """Whether only a part is kept."""
    attempts = IntegerField(default=1)
    """How often the request was sent."""
    overhead_us = BigIntegerField(null=True)
    """What the proxy itself added to the duration."""
    verdicts = TextField(default="[]")
    """JSON: what guards decided, as pairs of plugin and kind."""

    class Meta:
        table_name = "calls"
        indexes = (
            (("session_id", "number"), False),
            (("started_us", "id"), False),
            (("state", "id"), False),
            (("envelope_blob",), False),
            (("response_blob",), False),
            (("request_headers_blob",), False),
            (("response_headers_blob",), False),
        )


class Node(Model):
    """
    A message at its place in a history: the same one at the same place is stored once a session.

    A history is the chain from its last node to the root. Histories that begin alike share the
    nodes of their beginning.
    """

    id = AutoField()
    session_id = IntegerField()
    parent_id = IntegerField(null=True)
    depth = IntegerField()
    """How many messages there are up to here."""
    digest = BlobField()
    """16 bytes: of the messages up to here."""
    blob_id = IntegerField()

    class Meta:
        table_name = "nodes"
        indexes = (
            (("session_id", "digest"), True),
            (("blob_id",), False),
        )


class Blob(Model):
    """Bytes, stored once however often they occur. Secrets in them are masked."""

    id = AutoField()
    digest = BlobField(unique=True)
    """16 bytes: keyed BLAKE2b of the bytes before masking; its id in 8 bytes where nothing like it
    is to be expected again."""
    codec = TextField(default="")
    """`""` as it is, `"zlib"` deflated."""
    size = IntegerField()
    """Bytes when not compressed."""
    data = BlobField()

    class Meta:
        table_name = "blobs"


class Text(Model):
    """What can be searched of an event: its new words, prepared for the index."""

    id = IntegerField(primary_key=True)
    """The event's id, which is its row in the index, too."""
    words = TextField()

    class Meta:
        table_name = "texts"


class Rollup(Model):
    """Totals of a span of time, per agent and model, or per agent and tool."""

    size = TextField()
    """`m` a minute, `h` an hour, `d` a day (UTC)."""
    kind = TextField()
    """`llm` or `tool`."""
    bucket_us = BigIntegerField()
    agent_id = IntegerField()
    """0 for none."""
    name = TextField()
    """The model or the tool."""
    calls = IntegerField(default=0)
    errors = IntegerField(default=0)
    tok_in = BigIntegerField(default=0)
    tok_out = BigIntegerField(default=0)
    tok_cached = BigIntegerField(default=0)
    cost_nano = BigIntegerField(default=0)
    lat_us = BigIntegerField(default=0)
    """The sum of latencies."""
    hist = BlobField(default=b"")

    class Meta:
        table_name = "rollups"
        primary_key = CompositeKey("size", "kind", "bucket_us", "agent_id", "name")
        without_rowid = True


class RollupOfAll(Model):
    """The same of all agents together, which is what most pages ask for."""

    size = TextField()
    kind = TextField()
    bucket_us = BigIntegerField()
    name = TextField()
    calls = IntegerField(default=0)
    errors = IntegerField(default=0)
    tok_in = BigIntegerField(default=0)
    tok_out = BigIntegerField(default=0)
    tok_cached = BigIntegerField(default=0)
    cost_nano = BigIntegerField(default=0)
    lat_us = BigIntegerField(default=0)
    hist = BlobField(default=b"")

    class Meta:
        table_name = "rollups_of_all"
        primary_key = CompositeKey("size", "kind", "bucket_us", "name")
        without_rowid = True


class Finding(Model):
    """Something that a detector found in an event."""

    id = AutoField()
    group_id = IntegerField()
    session_id = IntegerField(null=True)
    event_id = IntegerField(null=True)
    agent_id = IntegerField(null=True)
    rule = TextField()
    owasp = TextField(default="")
    """Such as `LLM01`."""
    sev = IntegerField(default=0)
    title = TextField(default="")
    detector = TextField(default="")
    confidence = FloatField(null=True)
    evidence = TextField(default="{}")
    """JSON: `ptr`, `start`, `end` (code points), `text_sha`, `sample` (masked)."""
    created_us = BigIntegerField()

    class Meta:
        table_name = "findings"
        indexes = (
            (("session_id", "id"), False),
            (("group_id", "id"), False),
            (("created_us", "id"), False),
            (("event_id",), False),
        )


class FindingGroup(Model):
    """All findings of one rule in one agent, and what people decided about them."""

    id = AutoField()
    rule = TextField()
    agent_id = IntegerField()
    """0 for none."""
    owasp = TextField(default="")
    sev = IntegerField(default=0)
    title = TextField(default="")
    first_us = BigIntegerField()
    last_us = BigIntegerField()
    count = IntegerField(default=0)
    sessions = IntegerField(default=0)
    state = TextField(default="open")
    """`open`, `acknowledged`, `fixed`, `ignored`, `muted` or `regressed`."""
    note = TextField(default="")
    rev = BigIntegerField(default=0)

    class Meta:
        table_name = "finding_groups"
        indexes = (
            (("rule", "agent_id"), True),
            (("state", "sev", "last_us", "id"), False),
            (("owasp", "sev"), False),
        )


class Document(Model):
    """A record of a kind that another plugin brought, or of our own: reports, saved views."""

    id = AutoField()
    kind = TextField()
    key = TextField()
    session_id = IntegerField(null=True)
    agent_id = IntegerField(null=True)
    created_us = BigIntegerField()
    changed_us = BigIntegerField()
    body = TextField(default="{}")
    """JSON."""

    class Meta:
        table_name = "documents"
        indexes = (
            (("kind", "key"), True),
            (("kind", "changed_us", "id"), False),
            (("session_id",), False),
        )


class Audit(Model):
    """Who changed what: states of findings, deletions, revealed values."""

    id = AutoField()
    at_us = BigIntegerField()
    action = TextField()
    subject = TextField()
    """Such as `session 12` or `group 3`."""
    before = TextField(default="")
    after = TextField(default="")
    reason = TextField(default="")

    class Meta:
        table_name = "audit"


class Gone(Model):
    """A session that was deleted, so that its address can say why."""

    public_id = TextField(primary_key=True)
    at_us = BigIntegerField()
    reason = TextField()

    class Meta:
        table_name = "gone"
        without_rowid = True


TABLES: tuple[type[peewee.Model], ...] = (
    Meta,
    Agent,
    Session,
    Tag,
    SessionModel,
    SessionTool,
    Event,
    Call,
    Node,
    Blob,
    Text,
    Rollup,
    RollupOfAll,
    Finding,
    FindingGroup,
    Document,
    Audit,
    Gone,
)
