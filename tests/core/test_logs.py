"""Logging: what is written, where to, and what is never written."""

import contextlib
import io
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from perimeter import logs
from perimeter.errors import ConfigError
from perimeter.options import Secret
from perimeter.settings import LoggingSettings


WORD = "w0rd" * 6
"""Stands for the part of a credential that must not show."""


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    ours = logging.getLogger("perimeter")
    levels = root.level, ours.level
    yield
    for handler in list(root.handlers):
        if isinstance(handler, logs._Discreet):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def log() -> logging.Logger:
    """A logger as core's modules have them."""
    return logging.getLogger("perimeter.test")


def written(format: str, message: str, *args: object, **extra: object) -> str:
    """Give what a record looks like in a format."""
    record = logging.LogRecord("perimeter.test", logging.INFO, "", 0, message, args, None)
    record.__dict__.update(extra)
    formatter = logs.JsonFormatter if format == "json" else logs.TextFormatter
    return formatter(logs.Masker([Secret(WORD)])).format(record)


FORMATS = pytest.mark.parametrize("format", ["text", "json"])


def test_text_names_time_level_logger_and_exchange() -> None:
    """A line holds everything that is needed to find the rest."""
    line = written("text", "took %d", 5, exchange="abc", created=0.5)
    expected = "1970-01-01T00:00:00.500Z INFO    perimeter.test: took 5 exchange=abc"
    assert line == expected


def test_json_holds_one_object_per_line() -> None:
    """The same in fields, with line breaks escaped."""
    line = written("json", "a\nb", exchange="abc", created=0.5)
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "INFO",
        "logger": "perimeter.test",
        "message": "a\nb",
        "exchange": "abc",
    }


def test_a_message_cannot_forge_a_line() -> None:
    """Control characters from elsewhere are shown, not obeyed."""
    line = written("text", "a\r\nb\x1b[31m")
    assert line.endswith("a\\r\\nb\\x1b[31m")


@FORMATS
@pytest.mark.parametrize(
    "template",
    [
        "Authorization: Bearer {}",
        "authorization: {}",
        "{{'Authorization': 'Bearer {}'}}",
        "[(b'authorization', b'Bearer {}'), (b'x-api-key', b'{}')]",
        '{{"x-api-key": "{}"}}',
        "x-goog-api-key={}",
        "proxy-authorization: {}",
        "[(b'x-amz-security-token', b'{}')]",
        "api_key = '{}'",
        "Cookie: a={}; b={}",
        "x-perimeter-token: {}",
        "client_secret={}",
        "bearer {}",
        "Basic {}",
        "GET /v1?alt=sse&key={}",
        "http://user:{}@host/",
    ],
)
def test_credentials_are_masked_by_their_surroundings(format: str, template: str) -> None:
    """Headers in every notation, parameters and addresses; the configured secrets play no part."""
    other = "0ther" * 5
    line = written(format, "%s", template.format(other, other))
    assert other not in line
    assert "***" in line


@FORMATS
@pytest.mark.parametrize(
    "prefix", ["sk-", "sk-ant-api03-", "gsk_", "AIza", "hf_", "xai-", "ghp_", "glpat-"]
)
def test_credentials_are_masked_by_their_shape(format: str, prefix: str) -> None:
    """Well-known prefixes stay, to tell which key it was; the rest goes."""
    line = written(format, "key %s refused", prefix + "0ther" * 7)
    assert "0ther" not in line
    assert "refused" in line


@FORMATS
def test_configured_secrets_are_masked_anywhere(format: str) -> None:
    """Whatever a key looks like and wherever it stands."""
    line = written(format, f"plain {WORD} here", exchange=WORD)
    assert WORD not in line


@FORMATS
def test_tracebacks_are_masked(format: str) -> None:
    """An exception's text is as dangerous as a message."""
    text = f"x-api-key: {'0ther' * 5}"
    try:
        raise ValueError(text)
    except ValueError as error:
        line = written(format, "failed", exc_info=(type(error), error, error.__traceback__))
    assert "ValueError" in line
    assert "0ther" not in line


def test_ordinary_text_stays() -> None:
    """Masking does not eat words that only look similar."""
    text = "basic idea: the token budget of task-force 9, see http://host/a@b and key=5"
    assert logs.Masker()(text) == text


def test_short_secrets_do_not_blot_out_words() -> None:
    """A secret of a few letters would mask half the language."""
    assert logs.Masker([Secret("a"), Secret("")])("banana") == "banana"


def test_the_level_applies_to_perimeter(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """Less severe records are dropped, others go to standard error."""
    logs.configure(LoggingSettings(level="warning"))
    log.info("hidden")
    log.warning("shown")
    captured = capsys.readouterr()
    assert "hidden" not in captured.err
    assert "shown" in captured.err
    assert not captured.out


@pytest.mark.parametrize("name", ["httpx", "httpcore.http11", "uvicorn.error", "uvicorn.access"])
def test_libraries_are_quiet(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even at DEBUG only their warnings are heard."""
    # A server started by another test may have switched uvicorn's access log off altogether.
    monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    logs.configure(LoggingSettings(level="debug"))
    logging.getLogger(name).info("hidden")
    logging.getLogger(name).warning("shown")
    shown = capsys.readouterr().err
    assert "hidden" not in shown
    assert "shown" in shown


def test_configuring_again_replaces_the_first_time(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """No record is written twice."""
    logs.configure(LoggingSettings())
    logs.configure(LoggingSettings(format="json"))
    log.info("once")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "once"


def test_the_file_is_private_and_rotated(log: logging.Logger, tmp_path: Path) -> None:
    """Each file has its owner's permissions only, and no more are kept than asked for."""
    path = tmp_path / "perimeter.log"
    logs.configure(LoggingSettings(file=str(path), max_file_size=200, backup_count=2))
    for number in range(20):
        log.info("record %d %s", number, "x" * 100)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [
        "perimeter.log",
        "perimeter.log.1",
        "perimeter.log.2",
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "record 19" in path.read_text()


def test_several_processes_write_to_a_file_that_one_rotates(
    log: logging.Logger, tmp_path: Path
) -> None:
    """A full file is rotated by whoever does so; who follows goes on in the new one."""
    path = tmp_path / "perimeter.log"
    settings = LoggingSettings(file=str(path), max_file_size=200)
    other = logs.FollowingFileHandler(path, encoding="utf-8")
    with contextlib.closing(other):
        for number in range(20):
            other.emit(logging.LogRecord("x", logging.INFO, "", 0, f"before {number:4} ", (), None))
        other.emit(logging.LogRecord("x", logging.INFO, "", 0, "before" * 10, (), None))
        logs.configure(settings)
        logs.rotate()
        logs.rotate()
        other.emit(logging.LogRecord("x", logging.INFO, "", 0, "after", (), None))

    assert [file.name for file in sorted(tmp_path.iterdir())] == [
        "perimeter.log",
        "perimeter.log.1",
    ]
    assert path.read_text() == "after\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    """A missing folder, or a folder in the file's place, names the option."""
    for path in (tmp_path / "missing" / "a.log", tmp_path):
        with pytest.raises(ConfigError, match=r"logging\.file"):
            logs.configure(LoggingSettings(file=str(path)))


def test_a_failing_stream_shows_no_record(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the log cannot be written, one line says so, and the record stays unseen."""
    logs.configure(LoggingSettings())
    handler = next(h for h in logging.getLogger().handlers if isinstance(h, logs._Discreet))
    monkeypatch.setattr(handler, "stream", None)
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    log.info("Authorization: %s", WORD)
    log.info("again")
    assert stderr.getvalue().count("\n") == 1
    assert WORD not in stderr.getvalue()
