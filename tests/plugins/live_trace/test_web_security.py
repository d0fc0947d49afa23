"""Who may ask the dashboard what: headers, names, origins, forms and the token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dashboards import application
from litestar.testing import TestClient

from perimeter_plugin_live_trace.web import pages
from perimeter_plugin_live_trace.web.attempts import Attempts, TooMany, address_of
from perimeter_plugin_live_trace.web.page import Ask, Ingest, Redirect, action, page
from perimeter_plugin_live_trace.web.security import HEADERS, POLICY, needs_token


TOKEN = "t" + "0123456789abcdef" * 2


class View(msgspec.Struct):
    said: str = "hello"


@page("/things", template="pages/extension.html")
def things(ask: Ask) -> Redirect:
    return Redirect("/elsewhere")


@action("/things")
def change(ask: Ask) -> Redirect:
    ask.site.facts["changed"] = ask.form.get("what")
    return Redirect("/things", notice="It is done")


@pytest.fixture
def open_app(tmp_path: Path) -> Iterator[Callable[..., TestClient[Any]]]:
    opened = []

    def opening(base: str = "http://127.0.0.1:7100", **options: Any) -> TestClient[Any]:
        app, _, reader, changes = application(tmp_path / f"{len(opened)}.db", **options)
        client = TestClient(app, base_url=base)
        client.__enter__()
        opened.append((client, reader, changes))
        return client

    yield opening
    for client, reader, changes in opened:
        client.__exit__(None, None, None)
        changes.writer.close()
        reader.close()


def readable() -> list[str]:
    """Return the paths of all pages that have no variable part, and their twins."""
    paths = {
        route.path for route in pages.ROUTES if route.kind != "action" and "{" not in route.path
    }
    twins = {
        f"{route.path}.json" for route in pages.ROUTES
        if route.kind == "page" and route.path in paths and route.path != "/"
    }  # fmt: skip
    return sorted(paths | twins)


OTHERS = [
    "/nothing", "/nothing.json", "/login", "/static/x/app.css", "/api/dashboard", "/api/nothing",
    "/sessions/nothing", "/agents/nothing", "/findings/999", "/mcp", "/x/nothing",
]  # fmt: skip


@pytest.mark.parametrize("path", [*readable(), *OTHERS])
def test_every_answer_has_the_headers(open_app: Callable[..., TestClient[Any]], path: str) -> None:
    """Pages, twins, fragments, errors and static files all carry the same protection."""
    answer = open_app().get(path, follow_redirects=False)
    assert answer.status_code < 500
    for name, value in HEADERS.items():
        if name == "content-security-policy":
            assert answer.headers[name] in {POLICY, "default-src 'none'; sandbox"}
        elif name != "cache-control":
            assert answer.headers[name] == value


def test_the_policy_allows_no_inline_code() -> None:
    """Neither scripts nor styles in the page run, and HTML is only made from fragments."""
    assert "unsafe" not in POLICY
    assert "*" not in POLICY
    assert POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert POLICY.endswith("require-trusted-types-for 'script'; trusted-types lt-fragment")


@pytest.mark.parametrize(
    ("bound", "allowed", "host", "status"),
    [
        ("127.0.0.1", [], "127.0.0.1:7100", 303),
        ("127.0.0.1", [], "localhost:7100", 303),
        ("127.0.0.1", [], "localhost", 303),
        ("127.0.0.1", [], "[::1]:7100", 303),
        ("127.0.0.1", [], "LOCALHOST:9", 303),
        ("127.0.0.1", [], "evil.example", 421),
        ("127.0.0.1", [], "localhost.evil.example", 421),
        ("127.0.0.1", [], "10.0.0.5:7100", 421),
        ("127.0.0.1", [], "", 421),
        ("127.0.0.1", [], "[", 421),
        ("127.0.0.1", ["traces.example"], "traces.example", 303),
        ("127.0.0.1", ["traces.example"], "other.example", 421),
        ("0.0.0.0", [], "10.0.0.5:7100", 401),
        ("0.0.0.0", [], "localhost:8100", 401),
        ("0.0.0.0", [], "evil.example", 421),
        ("10.0.0.5", [], "10.0.0.5:7100", 401),
        ("10.0.0.5", [], "10.0.0.6:7100", 421),
    ],
)
def test_only_our_own_names_are_answered(
    open_app: Callable[..., TestClient[Any]], bound: str, allowed: list[str], host: str, status: int
) -> None:
    """A name that somebody else owns could be pointed at this machine."""
    token = TOKEN if needs_token(bound) else ""
    client = open_app(host=bound, allowed_hosts=allowed, token=token, routes=[things])
    assert (
        client.get("/things", headers={"host": host}, follow_redirects=False).status_code == status
    )


FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9999"},
    {"origin": "http://localhost:7100"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://127.0.0.1:7100", "sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/things", "/mcp", "/preferences", "/login", "/nothing"])
def test_other_sites_can_change_nothing(
    open_app: Callable[..., TestClient[Any]], path: str, headers: dict[str, str]
) -> None:
    """What another site's page sends is refused before it reaches anything."""
    client = open_app(routes=[things, change])
    assert client.post(path, headers=headers).status_code == 403


def test_other_sites_cannot_listen(open_app: Callable[..., TestClient[Any]]) -> None:
    """Hints are for our own pages only."""
    headers = {"sec-fetch-site": "cross-site"}
    assert open_app().get("/live", headers=headers).status_code == 403


READING = [headers for headers in FOREIGN if "origin" in headers and len(headers) == 1]


@pytest.mark.parametrize("headers", READING)
@pytest.mark.parametrize("path", ["/overview", "/api/dashboard", "/export/sessions.csv"])
def test_other_sites_cannot_read(
    open_app: Callable[..., TestClient[Any]], path: str, headers: dict[str, str]
) -> None:
    """A script of another site is refused; a link there may still lead here."""
    client = open_app()
    assert client.get(path, headers=headers).status_code == 403
    assert client.get(path, headers={"sec-fetch-site": "cross-site"}).status_code == 200


def form_token(client: TestClient[Any]) -> str:
    """Return the token of a form, as a browser gets it with a page."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', client.get("/settings").text)
    assert found is not None
    return found[1]


def test_a_form_needs_its_token(open_app: Callable[..., TestClient[Any]]) -> None:
    """The token that came with a page lets a form through, once and again."""
    client = open_app(routes=[*pages.ROUTES, things, change])
    token = form_token(client)
    for what in ("one", "two"):
        answer = client.post("/things", data={"csrf": token, "what": what}, follow_redirects=False)
        assert answer.status_code == 303
        assert client.app.gate.rules.site.facts["changed"] == what  # type: ignore[union-attr]


@pytest.mark.parametrize("token", ["", "x", "0" * 80, "é" * 40])
def test_a_form_without_its_token_is_refused(
    open_app: Callable[..., TestClient[Any]], token: str
) -> None:
    """A token that was made up does nothing."""
    client = open_app(routes=[*pages.ROUTES, things, change])
    form_token(client)
    answer = client.post("/things", data={"csrf": token, "what": "bad"})
    assert answer.status_code == 403
    assert "out of date" in answer.text
    assert "changed" not in client.app.gate.rules.site.facts  # type: ignore[union-attr]


def test_a_form_token_belongs_to_its_browser(open_app: Callable[..., TestClient[Any]]) -> None:
    """The token of one browser is none in another, nor in one without cookies."""
    client = open_app(routes=[*pages.ROUTES, things, change])
    token = form_token(client)
    client.cookies.clear()
    assert client.post("/things", data={"csrf": token}).status_code == 403
    form_token(client)
    assert client.post("/things", data={"csrf": token}).status_code == 403


def test_a_form_token_is_another_one_each_time(open_app: Callable[..., TestClient[Any]]) -> None:
    """So it can't be guessed from the length of a compressed page."""
    client = open_app()
    assert form_token(client) != form_token(client)


def test_others_can_reach_it_only_with_a_token(tmp_path: Path) -> None:
    """An application for an address that others can reach is not made without one."""
    for host in ("0.0.0.0", "::", "10.0.0.5", "dashboard.example"):
        with pytest.raises(ValueError, match="needs a token"):
            application(tmp_path / "x.db", host=host)


def test_the_login_lets_in(open_app: Callable[..., TestClient[Any]]) -> None:
    """Without the token there is the login page, with it the page that was asked."""
    client = open_app(token=TOKEN)
    asked = client.get("/settings?x=1")
    assert asked.status_code == 401
    assert 'name="next" value="/settings?x=1"' in asked.text
    wrong = client.post("/login", data={"token": "wrong", "next": "/settings"})
    assert wrong.status_code == 401
    assert "not the token" in wrong.text
    right = client.post(
        "/login", data={"token": f" {TOKEN} ", "next": "/settings?x=1"}, follow_redirects=False
    )
    assert right.headers["location"] == "/settings?x=1"
    cookie = right.headers["set-cookie"]
    assert cookie.startswith("lt_7100=")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/settings").status_code == 200


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example", ""])
def test_the_login_leads_nowhere_else(open_app: Callable[..., TestClient[Any]], to: str) -> None:
    """An address of another site is not followed."""
    answer = open_app(token=TOKEN).post(
        "/login", data={"token": TOKEN, "next": to}, follow_redirects=False
    )
    assert answer.headers["location"] == "/"


def test_the_address_may_carry_the_token_once(open_app: Callable[..., TestClient[Any]]) -> None:
    """It becomes a cookie, and leaves the address."""
    client = open_app(token=TOKEN)
    answer = client.get(f"/settings?a=1&token={TOKEN}&b=2", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/settings?a=1&b=2"
    assert client.get("/settings").status_code == 200
    client.cookies.clear()
    wrong = client.get("/settings?token=wrong")
    assert wrong.status_code == 401
    assert "not the token" in wrong.text


@pytest.mark.parametrize("path", ["/api/dashboard", "/settings.json", "/live", "/mcp"])
def test_programs_send_the_token_as_a_header(
    open_app: Callable[..., TestClient[Any]], path: str
) -> None:
    """Without it they get 401 as JSON, and are told how."""
    client = open_app(token=TOKEN)
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {TOKEN}"}):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["error"]


@pytest.mark.parametrize(
    ("state", "status", "said"), [("open", 200, "ok\n"), ("full", 503, "not ok\n")]
)
def test_health_needs_no_token(
    open_app: Callable[..., TestClient[Any]], state: str, status: int, said: str
) -> None:
    """Whoever has none, such as the check of a container, learns whether it works and no more."""
    client = open_app(token=TOKEN, ingest=Ingest(state=state))
    for _ in range(30):
        answer = client.get("/health")
        assert (answer.status_code, answer.text) == (status, said)
    assert client.get("/health", headers={"authorization": "Bearer wrong"}).status_code == 401
    known = client.get("/health", headers={"authorization": f"Bearer {TOKEN}"})
    assert known.json()["service"] == "live_trace"


def test_the_header_lets_in(open_app: Callable[..., TestClient[Any]]) -> None:
    """The right one is enough for pages and for the API."""
    client = open_app(token=TOKEN)
    headers = {"authorization": f"bearer {TOKEN}"}
    assert client.get("/api/dashboard", headers=headers).status_code == 200
    assert client.get("/settings", headers=headers).status_code == 200


def test_a_forged_cookie_does_not(open_app: Callable[..., TestClient[Any]]) -> None:
    """Neither the token itself nor anything else is the cookie; garbage beside it is no problem."""
    client = open_app(token=TOKEN)
    for value in (TOKEN, "x", ""):
        answer = client.get("/settings", headers={"cookie": f'a="; {{; lt_7100={value}; b'})
        assert answer.status_code == 401


def test_static_files_need_no_token(open_app: Callable[..., TestClient[Any]]) -> None:
    """The login page could not be shown otherwise."""
    client = open_app(token=TOKEN)
    found = re.search(r'href="(/static/[^"]+\.css)"', client.get("/").text)
    assert found is not None
    assert client.get(found[1]).status_code == 200


def by_form(client: TestClient[Any], token: str) -> Any:
    return client.post("/login", data={"token": token}, follow_redirects=False)


def by_header(client: TestClient[Any], token: str) -> Any:
    return client.get("/api/dashboard", headers={"authorization": f"Bearer {token}"})


def by_address(client: TestClient[Any], token: str) -> Any:
    return client.get(f"/settings?token={token}", follow_redirects=False)


WAYS = pytest.mark.parametrize("way", [by_form, by_header, by_address])


@WAYS
def test_guesses_are_limited(open_app: Callable[..., TestClient[Any]], way: Any) -> None:
    """After ten wrong tokens even the right one has to wait, for some seconds and no longer."""
    now = [1000.0]
    client = open_app(token=TOKEN, clock=lambda: now[0])
    for number in range(10):
        assert way(client, f"wrong-{number}").status_code == 401
    for token in ("wrong-10", TOKEN):
        refused = way(client, token)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 7
        assert TOKEN not in refused.text
    now[0] += int(refused.headers["retry-after"])
    assert way(client, TOKEN).status_code in {200, 303}


def test_all_ways_count_together(open_app: Callable[..., TestClient[Any]]) -> None:
    """Nobody gets more guesses by another door."""
    client = open_app(token=TOKEN, clock=lambda: 0.0)
    doors = [by_form, by_header, by_address]
    answers = [doors[number % 3](client, f"wrong-{number}").status_code for number in range(12)]
    assert answers == [401] * 10 + [429] * 2


@WAYS
def test_an_old_token_locks_nobody_out(open_app: Callable[..., TestClient[Any]], way: Any) -> None:
    """A program that goes on to send the same wrong token guesses nothing."""
    client = open_app(token=TOKEN, clock=lambda: 0.0)
    assert {way(client, "of-yesterday").status_code for _ in range(50)} == {401}
    assert way(client, TOKEN).status_code in {200, 303}


def test_who_has_logged_in_need_not_wait(open_app: Callable[..., TestClient[Any]]) -> None:
    """Somebody else's guesses from the same address are nothing to who has the cookie."""
    client = open_app(token=TOKEN, clock=lambda: 0.0)
    by_form(client, TOKEN)
    for number in range(11):
        by_form(client, f"wrong-{number}")
    assert by_form(client, TOKEN).status_code == 429
    assert client.get("/settings").status_code == 200


def test_the_login_page_says_how_long_to_wait(open_app: Callable[..., TestClient[Any]]) -> None:
    """People are told in words, programs in JSON."""
    client = open_app(token=TOKEN, clock=lambda: 0.0)
    for number in range(10):
        by_form(client, f"wrong-{number}")
    assert "Try again in 7 s." in by_form(client, "wrong").text
    assert "Too many wrong tokens" in by_header(client, "wrong").json()["error"]


def test_one_guesser_is_not_another() -> None:
    """Each address has its own tries; how many are remembered is bounded."""
    attempts = Attempts(lambda: 0.0)
    for number in range(20):
        attempts.failed("10.0.0.1", f"wrong-{number}")
    with pytest.raises(TooMany):
        attempts.check("10.0.0.1", "more")
    attempts.check("10.0.0.2", "more")
    for number in range(5000):
        attempts.failed(f"host-{number}", "wrong")
    assert len(attempts._guessers) == 1000


@pytest.mark.parametrize(
    ("client", "who"),
    [
        (("10.1.2.3", 5), "10.1.2.3"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::9", 5), "2001:db8:1:2::/64"),
        (("::ffff:10.1.2.3", 5), "10.1.2.3"),
        (("elsewhere", 5), "elsewhere"),
        (None, ""),
    ],
)
def test_a_host_is_known_by_its_address(client: Any, who: str) -> None:
    """Whoever has one address of IPv6 has very many, which count as one."""
    assert address_of({"client": client}) == who


def test_the_cookie_can_not_be_made_from_a_guess(
    open_app: Callable[..., TestClient[Any]],
) -> None:
    """Two dashboards with the same token give different cookies, so a guess needs the login."""
    cookies = {by_form(open_app(token=TOKEN), TOKEN).headers["set-cookie"] for _ in range(2)}
    assert len(cookies) == 2
