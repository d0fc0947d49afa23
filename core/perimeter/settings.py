"""What can be configured: one frozen attrs class per table of the configuration file.

Durations are seconds (a float, integers are accepted), sizes are bytes. ``perimeter.configuration``
fills these classes; everything else only reads them.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import attrs

from perimeter import checks
from perimeter.options import REQUIRED, Secret, option
from perimeter.pricing import Price


UpstreamTypeName = Literal["openai", "anthropic", "gemini", "ollama", "raw"]

UPSTREAM_TYPE_NAMES: tuple[str, ...] = get_args(UpstreamTypeName)

PUBLIC_BASE_URLS: Mapping[str, str] = {
    "openai": "https://api.openai.com",
    "anthropic": "https://api.anthropic.com",
    "gemini": "https://generativelanguage.googleapis.com",
    "ollama": "http://127.0.0.1:11434",
}
"""Where a provider listens when nothing else is said; ``raw`` can be anywhere."""

MOST_WORKERS = 64

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_KIB = 1024
_MIB = 1024 * _KIB


def _possible_workers(_instance: Any, _attribute: Any, value: int) -> None:
    if not 1 <= value <= MOST_WORKERS:
        raise ValueError(f"must be between 1 and {MOST_WORKERS}, not {value}")
    if value > 1 and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError(f"must be 1 on this platform, which has no SO_REUSEPORT, not {value}")


@attrs.frozen
class ServerSettings:
    """The ``[server]`` table: where the proxy listens, who may use it, and its limits."""

    host: str = option(
        "127.0.0.1",
        help="Address to listen on; anything but loopback lets other machines in.",
        validator=checks.host_name,
    )
    port: int = option(
        4000, help="Port to listen on; 0 takes any free one.", validator=checks.between(0, 65535)
    )
    workers: int = option(
        1,
        help="Worker processes that share the port; one per processor core is plenty.",
        validator=_possible_workers,
    )
    default_upstream: str = option(
        "",
        help="Upstream for paths that name no other one; empty means the first [upstreams] table.",
    )
    admin_token: Secret = option(
        Secret(),
        help="Token asked for on /config and plugin pages; needed to use them from other machines.",
        validator=checks.header_secret,
    )
    tokens: list[Secret] = option(
        [],
        help='Tokens clients must present, plain or as "sha256:<hex>"; empty asks for none.',
        validator=checks.each(checks.client_token),
    )
    allowed_hosts: list[str] = option(
        [],
        help="Further host names under which /config and plugin pages may be opened.",
        validator=checks.each(checks.host_name),
    )
    response_headers: bool = option(
        True,
        help="Add the headers x-perimeter-exchange-id and x-perimeter-session-id to responses.",
    )
    max_body_size: int = option(
        64 * _MIB,
        help="Largest request body in bytes that is read whole; larger ones get 413.",
        validator=checks.at_least(1),
    )
    body_budget: int = option(
        512 * _MIB,
        help="Bytes of request bodies held at one time over all requests; beyond it 503.",
        validator=checks.at_least(1),
    )
    capture_limit: int = option(
        8 * _MIB,
        help="Bytes of each body that plugins get to see; the rest is marked as truncated.",
        validator=checks.at_least(0),
    )
    max_header_size: int = option(
        64 * _KIB,
        help="Largest request head in bytes; larger ones get 431.",
        validator=checks.at_least(_KIB),
    )
    max_headers: int = option(
        100, help="Most headers a request may have; more get 431.", validator=checks.at_least(1)
    )
    header_timeout: float = option(
        30.0,
        help="Seconds a client has to send a request's head.",
        validator=checks.duration,
    )
    keep_alive: float = option(
        75.0,
        help="Seconds an idle client connection is kept open.",
        validator=checks.duration,
    )
    guard_timeout: float = option(
        2.0,
        help="Seconds a plugin's guard may take before its failure policy decides.",
        validator=checks.duration,
    )
    drain_delay: float = option(
        0.0,
        help="Seconds between the first 503 on /health and the moment no connection is accepted.",
        validator=checks.duration_or_zero,
    )
    shutdown_timeout: float = option(
        30.0,
        help="Seconds that requests in flight have to end when the proxy stops.",
        validator=checks.duration_or_zero,
    )

    def __attrs_post_init__(self) -> None:
        if self.body_budget < self.max_body_size:
            raise ValueError("body_budget must not be smaller than max_body_size")


@attrs.frozen
class LoggingSettings:
    """The ``[logging]`` table."""

    level: str = option(
        "INFO",
        help="Least severe level shown: debug, info, warning, error or critical, in any case.",
        validator=checks.one_of(*_LEVELS),
        converter=str.upper,
    )
    format: Literal["text", "json"] = option(
        "text", help='"text" for people, "json" for one JSON object per line.'
    )
    file: str = option(
        "", help="File to write to instead of standard error; its folder must exist."
    )
    max_file_size: int = option(
        10 * _MIB,
        help="Bytes after which the file is rotated; 0 never rotates.",
        validator=checks.at_least(0),
    )
    backup_count: int = option(
        5, help="Rotated files that are kept.", validator=checks.between(1, 1000)
    )


@attrs.frozen
class RecordingSettings:
    """The ``[recording]`` table: what plugins that keep traffic may keep of it."""

    redact: bool = option(
        True,
        help="Mask secrets in all that plugins keep: credential headers, cookies, and keys in "
        "bodies and URLs.",
    )
    exclude_paths: list[str] = option(
        [],
        help='Paths whose exchanges no plugin keeps, such as "/v1/files/*"; * is any text, ? any '
        "character.",
        validator=checks.each(checks.path_pattern),
    )


RESET_PHRASES = (
    "start over",
    "start again",
    "new conversation",
    "new chat",
    "new session",
    "begin again",
    "fresh start",
    "reset",
    "clear",
    "/reset",
    "/clear",
    "/new",
)


@attrs.frozen
class SessionSettings:
    """The ``[session]`` table: how calls are put together to conversations."""

    enabled: bool = option(
        True,
        help="Find out which conversation each call belongs to; without it only ids that clients "
        "send label calls.",
    )
    max_sessions: int = option(
        10_000,
        help="Sessions that are remembered; beyond that the one quiet for longest is forgotten.",
        validator=checks.at_least(100),
    )
    session_ttl_seconds: float = option(
        3600.0,
        help="Seconds since the last activity after which a session is forgotten.",
        validator=checks.duration,
    )
    completion_timeout: float = option(
        1800.0,
        help="Seconds since the last activity after which a session counts as over; it goes on "
        "under the same id if it is called again before it is forgotten.",
        validator=checks.duration,
    )
    fuzzy_threshold: float = option(
        0.5,
        help="How much of a cut or changed history must be known for it to belong to a session: "
        "0 (anything) to 1 (all of it).",
        validator=checks.fraction,
    )
    reset_phrases: list[str] = option(
        list(RESET_PHRASES),
        help="A last user message that is just one of these starts a new session, in any case and "
        "with any punctuation around it.",
        validator=checks.each(checks.not_blank),
    )
    max_messages_for_new_session: int = option(
        3,
        help="A history of at most so many messages starts a new session unless all of it is "
        "known, since short ones look alike.",
        validator=checks.at_least(0),
    )
    store: str = option(
        "memory",
        help='Where sessions are kept: "memory", "sqlite" (memory, and a file for restarts), or '
        "the name of a store that a plugin offers.",
        validator=checks.not_blank,
    )
    store_path: str = option(
        "",
        help='File of the "sqlite" store; empty means sessions.sqlite3 in the data folder.',
    )


@attrs.frozen
class UpstreamSettings:
    """One ``[upstreams.<name>]`` table: a provider's address, credentials and patience."""

    type: UpstreamTypeName = option(
        REQUIRED,
        help="API spoken there: openai, anthropic, gemini, ollama (compatible servers too) or raw.",
    )
    base_url: str = option(
        REQUIRED,
        help="Where it is; may be left out for the providers' own public addresses.",
        validator=checks.http_url,
    )
    api_key: Secret = option(
        Secret(),
        help="Key to inject; write a reference to a variable rather than the key itself.",
        validator=checks.header_secret,
    )
    api_key_header: str = option(
        "",
        help='Header for the key when it is not the provider\'s own, such as "api-key" for Azure.',
        validator=checks.header_name,
    )
    credentials: Literal["", "override", "fallback", "passthrough"] = option(
        "",
        help="Whose key counts: 'override' ours, 'fallback' the client's if it sent one, "
        "'passthrough' only the client's; empty means override if there is an api_key, "
        "else passthrough.",
    )
    prefix: str = option(
        "",
        help='Path under which clients reach it, such as "/azure".',
        validator=checks.path_prefix,
    )
    transport: Literal["auto", "h1", "httpx"] = option(
        "auto",
        help="HTTP client used towards it: 'h1' is the fast one, 'httpx' knows HTTP/2 and outgoing "
        "proxies, 'auto' takes h1 where neither is needed.",
    )
    http2: bool = option(False, help="Offer HTTP/2.")
    verify: bool = option(True, help="Check the server's certificate.")
    ca_file: str = option(
        "", help="PEM file of certificate authorities to trust instead of the usual ones."
    )
    client_cert: str = option(
        "", help="PEM file of a certificate to show to it, with its chain; the key may be in it."
    )
    client_key: str = option("", help="PEM file of that certificate's key.")
    connect_timeout: float = option(10.0, help="Seconds to connect.", validator=checks.duration)
    first_byte_timeout: float = option(
        600.0, help="Seconds until the response begins.", validator=checks.duration
    )
    idle_timeout: float = option(
        300.0, help="Seconds of silence inside a response.", validator=checks.duration
    )
    pool_timeout: float = option(
        10.0, help="Seconds to wait for a free connection.", validator=checks.duration
    )
    max_connections: int = option(
        1000, help="Connections open at one time.", validator=checks.at_least(1)
    )
    keepalive_expiry: float = option(
        4.0,
        help="Seconds an idle connection is kept; stay below the server's own limit.",
        validator=checks.duration_or_zero,
    )
    connection_max_age: float = option(
        600.0,
        help="Seconds after which a connection is not used again, so that changes of its address "
        "are noticed (h1 only).",
        validator=checks.duration,
    )
    max_retries: int = option(
        2,
        help="Further attempts when nothing can have happened yet.",
        validator=checks.between(0, 10),
    )
    retry_statuses: list[int] = option(
        [],
        help="Response statuses that are tried again too, such as 429 and 529.",
        validator=checks.each(checks.between(400, 599)),
    )
    retry_max_delay: float = option(
        10.0,
        help="Longest wait in seconds between attempts, whatever Retry-After asks for.",
        validator=checks.duration_or_zero,
    )
    on_truncation: Literal["cut", "event"] = option(
        "cut",
        help="When the upstream dies inside a stream: 'cut' the client off or send an 'event'.",
    )

    def __attrs_post_init__(self) -> None:
        if self.ca_file and not self.verify:
            raise ValueError("ca_file has no meaning with verify = false")
        if self.client_key and not self.client_cert:
            raise ValueError("client_key has no meaning without client_cert")
        if self.transport == "h1" and self.http2:
            raise ValueError('http2 = true needs transport = "httpx" or "auto"')
        if self.credentials == "override" and not self.api_key:
            raise ValueError('credentials = "override" needs an api_key')


@attrs.frozen
class Settings:
    """The whole configuration, as it applies after file, environment and command line.

    Attributes:
        plugins: The raw ``[plugins.<name>]`` tables in call order; the registry turns each into its
            plugin's class.
        default_upstream: Name of the upstream for paths that belong to no other; None if there is
            no upstream.
        source: The file that was read.
        lines: Where keys stand in that file, for messages about plugin tables.

    """

    server: ServerSettings = attrs.Factory(ServerSettings)
    logging: LoggingSettings = attrs.Factory(LoggingSettings)
    session: SessionSettings = attrs.Factory(SessionSettings)
    recording: RecordingSettings = attrs.Factory(RecordingSettings)
    pricing: dict[str, Price] = attrs.Factory(dict)
    upstreams: dict[str, UpstreamSettings] = attrs.Factory(dict)
    plugins: dict[str, dict[str, Any]] = attrs.Factory(dict)
    default_upstream: str | None = None
    source: Path | None = None
    lines: Mapping[tuple[str | int, ...], int] = attrs.field(factory=dict, repr=False, eq=False)

    def secrets(self) -> list[Secret]:
        """Give every secret of core's own tables, for masking them wherever they appear."""
        keys = [upstream.api_key for upstream in self.upstreams.values()]
        return [self.server.admin_token, *self.server.tokens, *keys]
