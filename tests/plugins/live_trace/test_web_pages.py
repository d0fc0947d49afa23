"""How pages are asked and answered: parameters, links, twins, errors, files and preferences."""

from __future__ import annotations

import gzip
import json
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dashboards import application
from litestar.testing import TestClient

from perimeter_plugin_live_trace.store import StoreError, TooSlow
from perimeter_plugin_live_trace.web.ask import address
from perimeter_plugin_live_trace.web.page import (
    Ask,
    Download,
    NotFound,
    Redirect,
    Refused,
    Route,
    action,
    fragment,
    page,
)


HOUR_US = 3_600_000_000


class Seen(msgspec.Struct):
    title: str
    plugin: str = "test"
    blocks: list[str] = []
    pages: list[str] = []
    path: str = ""


@page("/seen/{id}", template="pages/extension.html", nav="sessions")
def seen(ask: Ask) -> Seen:
    return Seen(ask.path["id"])


@page("/numbers", template="pages/extension.html", title="Numbers")
def numbers(ask: Ask) -> Seen:
    return Seen(str(ask.params.integer("n", 5, 1, 10)) + ask.params.choice("c", "a", ("a", "b")))


@fragment("/numbers/part", template="parts/chart.html")
def part(ask: Ask) -> Any:
    raise NotFound("No such part.")


def raising(path: str, error: Exception) -> Route:
    def call(ask: Ask) -> Any:
        raise error

    return page(path, template="pages/extension.html")(call)


@page("/file", template="pages/extension.html")
def file(ask: Ask) -> Download:
    return Download('a "b"é.csv', "text/csv; charset=utf-8", (b"row\n" for _ in range(100_000)))


@page("/raw", template="pages/extension.html")
def raw(ask: Ask) -> Download:
    return Download("", "text/plain; charset=utf-8", iter([b"<script>"]))


@action("/act", limit=100)
def act(ask: Ask) -> Redirect:
    return Redirect(ask.form.get("to", "/"), notice="3 things deleted, “so”")


ROUTES = (
    seen,
    numbers,
    part,
    file,
    raw,
    act,
    raising("/gone", NotFound("The session “x” was deleted by retention.")),
    raising("/refused", Refused("It is used elsewhere.")),
    raising("/slow", TooSlow("it took longer than a second")),
    raising("/store", StoreError("the database /x is read-only")),
    raising("/locked", sqlite3.OperationalError("database is locked")),
    raising("/broken", RuntimeError("secret detail")),
)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient[Any]]:
    from perimeter_plugin_live_trace.web import pages

    app, _, reader, changes = application(tmp_path / "pages.db", routes=[*pages.ROUTES, *ROUTES])
    with TestClient(app, base_url="http://127.0.0.1:7100") as opened:
        yield opened
    changes.writer.close()
    reader.close()


def test_a_page_has_a_twin(client: TestClient[Any]) -> None:
    """The same view, as HTML and as JSON."""
    assert "<h1>abc</h1>" in client.get("/seen/abc").text
    twin = client.get("/seen/abc.json")
    assert twin.headers["content-type"] == "application/json"
    assert twin.json()["title"] == "abc"
    assert client.get("/numbers.json").json()["title"] == "5a"


IDS = [
    "a/b",
    "a b",
    "é",
    "..",
    ".",
    "x.json",
    "%2F",
    "?",
    "#",
    "a+b",
    "<script>",
    "/",
    "a%00b",
    "'\"",
]


@pytest.mark.parametrize("name", IDS)
def test_any_id_has_an_address(client: TestClient[Any], name: str) -> None:
    """Clients choose the ids of sessions; each page must be found again, and its twin."""
    path = address("/seen/{id}", {"id": name})
    assert client.get(f"{path}.json").json()["title"] == name
    assert client.get(path).status_code == 200
    assert client.get(path).headers["content-type"].startswith("text/html")


def test_invalid_parameters_are_said_and_defaults_taken(client: TestClient[Any]) -> None:
    """A wrong value is no error page: the page says which one it was."""
    answer = client.get("/numbers?n=x&c=%3Cb%3E&range=9y&from=never")
    assert answer.status_code == 200
    assert "<h1>5a</h1>" in answer.text
    assert answer.text.count("<li>“") == 4
    assert "&lt;b&gt;" in answer.text


@pytest.mark.parametrize(
    ("query", "title"), [("n=99", "10a"), ("n=-4", "1a"), ("n=7&n=8", "8a"), ("c=b", "5b"),
                         ("n=" + "9" * 5000, "10a"), ("n=٣", "5a"), ("n=", "5a")]
)  # fmt: skip
def test_numbers_stay_within_their_limits(client: TestClient[Any], query: str, title: str) -> None:
    """The last one of a name counts."""
    assert client.get(f"/numbers.json?{query}").json()["title"] == title


def test_a_thousand_parameters_do_no_harm(client: TestClient[Any]) -> None:
    """More than anyone needs are not read."""
    assert client.get("/numbers.json?" + "&".join(["n=7"] * 5000)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/gone", 404, "The session “x” was deleted by retention."),
        ("/nothing", 404, "Nothing is here"),
        ("/numbers/part", 404, "No such part."),
        ("/refused", 409, "It is used elsewhere."),
        ("/slow", 503, "Narrow the span of time"),
        ("/store", 503, "the database /x is read-only"),
        ("/locked", 503, "Try again in a moment."),
        ("/broken", 500, "Request"),
    ],
)
def test_errors_are_pages(client: TestClient[Any], path: str, status: int, says: str) -> None:
    """They say what is wrong and show nothing of the code; twins say it as JSON."""
    logging.getLogger("perimeter_plugin_live_trace").propagate = True
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert says in answer.text
    for hidden in ("Traceback", "secret detail", "RuntimeError", ".py"):
        assert hidden not in answer.text
    told = client.get(f"{path}.json")
    assert told.status_code == status
    assert set(told.json()) <= {"error", "detail", "request"}


def test_a_failure_can_be_found_in_the_log(
    client: TestClient[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The id on the page is the id in the log."""
    told = client.get("/broken.json").json()
    assert any(told["request"] in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/numbers", {"GET", "HEAD"}),
        ("DELETE", "/seen/a", {"GET", "HEAD"}),
        ("GET", "/act", {"POST"}),
    ],
)
def test_other_methods_are_405(
    client: TestClient[Any], method: str, path: str, allowed: set[str]
) -> None:
    """As a page, with what is allowed."""
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert allowed <= set(answer.headers["allow"].replace(" ", "").split(","))
    assert "used this way" in answer.text


def test_head_has_no_body(client: TestClient[Any]) -> None:
    """The same headers as GET."""
    answer = client.head("/numbers")
    assert answer.status_code == 200
    assert not answer.content


def test_pages_are_compressed_where_that_is_understood(client: TestClient[Any]) -> None:
    """With gzip, and the same without."""
    packed = client.get("/numbers", headers={"accept-encoding": "gzip"})
    bare = client.get("/numbers", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in bare.headers
    assert len(gzip.compress(bare.content)) < len(bare.content)


def test_a_file_is_sent_as_it_is_made(client: TestClient[Any]) -> None:
    """Its name can be anything; it is never shown as a page."""
    answer = client.get("/file")
    assert answer.content == b"row\n" * 100_000
    disposition = answer.headers["content-disposition"]
    assert disposition == "attachment; filename*=UTF-8''a%20%22b%22%C3%A9.csv"
    assert client.get("/raw").headers["content-security-policy"] == "default-src 'none'; sandbox"


def csrf(client: TestClient[Any]) -> str:
    text = client.get("/numbers").text
    return text.partition('name="csrf" value="')[2].partition('"')[0]


def test_what_an_action_says_is_said_once(client: TestClient[Any]) -> None:
    """On the page after it, and not on the one after that."""
    answer = client.post("/act", data={"csrf": csrf(client), "to": "/numbers"})
    assert answer.url.path == "/numbers"
    assert "3 things deleted, “so”" in answer.text
    assert "3 things deleted" not in client.get("/numbers").text


HEADER = "/a\r\nset-cookie: x=1"


@pytest.mark.parametrize(
    ("to", "location"),
    [("/a?b=1#c", "/a?b=1#c"), ("//evil.example", "/"), ("/\\evil.example", "/"), ("http://x", "/"),
     ("javascript:x", "/"), ("", "/"), ("/é", "/%C3%A9"), (HEADER, "/a%0D%0Aset-cookie:%20x=1")],
)  # fmt: skip
def test_redirects_stay_here(client: TestClient[Any], to: str, location: str) -> None:
    """Whatever a form says, they lead to this dashboard and add no header."""
    answer = client.post("/act", data={"csrf": csrf(client)[:80], "to": to}, follow_redirects=False)
    assert answer.status_code in {303, 413}
    if answer.status_code == 303:
        assert answer.headers["location"] == location


def test_forms_have_a_limit(client: TestClient[Any]) -> None:
    """A form that is longer is refused before it is read."""
    assert client.post("/act", data={"csrf": "x" * 200}).status_code == 413


def test_preferences_are_rendered_by_the_server(client: TestClient[Any]) -> None:
    """They are in one cookie, so the first paint has them."""
    client.post(
        "/preferences",
        data={"csrf": csrf(client), "theme": "dark", "density": "compact", "back": "/numbers"},
    )
    text = client.get("/numbers").text
    assert 'data-theme="dark" data-density="compact"' in text
    client.post("/preferences", data={"csrf": csrf(client), "theme": "purple", "zone": "Mars/Base"})
    assert 'data-theme="dark"' in client.get("/numbers").text


def test_the_twin_is_json_for_any_text(client: TestClient[Any]) -> None:
    """Markup is text there."""
    answer = client.get("/seen/%3Cb%3E.json")
    assert json.loads(answer.content)["title"] == "<b>"


def test_extensions_show_blocks(tmp_path: Path) -> None:
    """Pages of other plugins are made of blocks; nothing in them is HTML, no link leads away."""
    from perimeter.dashboard import Contribution, Facts, Heading, Link, Notice, Page, Table, Text

    def content(store: Any, params: Any) -> list[Any]:
        rows = [[Link("in", "/sessions/a"), 3], [Link("out", "//evil.example"), "<b>"]]
        return [Heading("<i>"), Text("\u202e"), Notice("n", "high"), Facts([("a", "1")]),
                Table(["A", "B"], rows), Table(["A"], [], "Nothing")]  # fmt: skip

    app, site, reader, changes = application(tmp_path / "x.db")
    site.extensions = {
        "sec": Contribution(pages=(Page("", "Posture", content), Page("a/b", "Two", content)))
    }
    with TestClient(app, base_url="http://127.0.0.1:7100") as client:
        text = client.get("/x/sec").text
        assert "<h2>&lt;i&gt;</h2>" in text
        assert "U+202E" in text
        assert 'href="/sessions/a"' in text
        assert "evil.example" not in text
        assert client.get("/x/sec/a/b.json").json()["title"] == "Two"
        assert client.get("/x/sec/c").status_code == 404
        assert 'href="/x/sec/a/b"' in client.get("/settings").text
    changes.writer.close()
    reader.close()
