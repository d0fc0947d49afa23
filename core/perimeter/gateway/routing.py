"""Which upstream a request goes to, and which dialect it speaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from perimeter.dialects import RAW, UPSTREAM_TYPES, Dialect, DialectTable, is_shared
from perimeter.gateway.upstream import Upstream
from perimeter.verdicts import Headers, header


WORKFLOW_PREFIX = "/agent-workflow/"
UPSTREAM_PREFIX = "/-/to/"
RESERVED_PREFIX = "/-/"


@attrs.frozen
class Route:
    """
    Where a request goes.

    Attributes:
        upstream: To whom.
        dialect: The provider API of the path.
        path: The path without Perimeter's own prefixes.
        workflow_id: From the workflow prefix, or None.
    """

    upstream: Upstream
    dialect: Dialect
    path: str
    workflow_id: str | None


class Router:
    """Decides by path, and by headers only where providers share a path."""

    def __init__(
        self, upstreams: Mapping[str, Upstream], default: str, dialects: Sequence[Dialect] = ()
    ) -> None:
        """
        Prepare the tables.

        Args:
            upstreams: All upstreams by name, in the order of the configuration.
            default: Name of the one that takes what no rule places.
            dialects: Contributed by plugins; matched before the built-in ones.
        """
        self._upstreams = upstreams
        self._default = upstreams[default]
        self._prefixes = [(each.prefix, each) for each in upstreams.values() if each.prefix]
        self._contributed = DialectTable(dialects)
        self._tables = {name: DialectTable(kind.dialects) for name, kind in UPSTREAM_TYPES.items()}
        self._all = DialectTable(
            [dialect for kind in UPSTREAM_TYPES.values() for dialect in kind.dialects]
        )

    def route(self, method: str, path: str, headers: Headers) -> Route | None:
        """
        Place a request.

        Returns:
            The route, or None for a path under `/-/` that leads nowhere.
        """
        workflow_id = None
        if path.startswith(WORKFLOW_PREFIX):
            workflow_id, path = _split_first(path[len(WORKFLOW_PREFIX) :])
        if path.startswith(RESERVED_PREFIX):
            if not path.startswith(UPSTREAM_PREFIX):
                return None
            name, path = _split_first(path[len(UPSTREAM_PREFIX) :])
            upstream = self._upstreams.get(name)
            if upstream is None:
                return None
        else:
            upstream, path = self._place(method, path, headers)
        return Route(upstream, self._dialect(upstream, method, path), path, workflow_id or None)

    def to(self, name: str) -> Upstream | None:
        """Return an upstream by name, or None."""
        return self._upstreams.get(name)

    def _place(self, method: str, path: str, headers: Headers) -> tuple[Upstream, str]:
        for prefix, upstream in self._prefixes:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}:
                return upstream, path[len(prefix) :] or "/"
        if len(self._upstreams) == 1:
            return self._default, path
        kind = self._type_of(method, path, headers)
        return self._first_of(kind) or self._default, path

    def _type_of(self, method: str, path: str, headers: Headers) -> str:
        """Return the name of the upstream type that a path belongs to, or ""."""
        if is_shared(path):
            anthropic = header(headers, b"anthropic-version") or header(headers, b"x-api-key")
            return "anthropic" if anthropic else ""
        dialect = self._all.match(method, path)
        if dialect is not RAW:
            return dialect.upstream_type
        for name, kind in UPSTREAM_TYPES.items():
            if kind.owns.search(path):
                return name
        return ""

    def _first_of(self, kind: str) -> Upstream | None:
        """Return the upstream for a type: the default one if it fits, else the file's first."""
        if not kind or self._default.type.name == kind:
            return None
        fitting = (each for each in self._upstreams.values() if each.type.name == kind)
        return next((each for each in fitting if not each.prefix), None)

    def _dialect(self, upstream: Upstream, method: str, path: str) -> Dialect:
        if upstream.type.name == "raw":
            return RAW
        dialect = self._contributed.match(method, path)
        if dialect is RAW:
            dialect = self._tables[upstream.type.name].match(method, path)
        if dialect is RAW:
            # Compatible servers offer several providers' APIs (LiteLLM, OpenRouter, Ollama, …).
            dialect = self._all.match(method, path)
        return dialect if dialect is not RAW else upstream.type.fallback


def _split_first(path: str) -> tuple[str, str]:
    """Split `name/rest` into the name and `/rest`."""
    name, _, rest = path.partition("/")
    return name, "/" + rest
