"""Writing to pipes, terminals and files that are slow, closed or strange."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from perimeter_plugin_printer.output import Output


pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Open a pipe: the descriptor to read from, and a text stream to write to."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield reader, stream
    with contextlib.suppress(OSError):  # the test may have closed it
        os.close(reader)


def test_text_comes_out_at_once(pipe: tuple[int, TextIO]) -> None:
    """Nothing waits in a buffer, and what stood in the stream's own buffer comes first."""
    reader, stream = pipe
    stream.write("before ")
    Output(stream).write("→ now\n")
    assert os.read(reader, 100).decode() == "before → now\n"


def test_a_full_pipe_is_waited_for(pipe: tuple[int, TextIO]) -> None:
    """More than a pipe holds is written in pieces, also where the pipe does not block."""
    reader, stream = pipe
    text = "0123456789" * 50_000
    os.set_blocking(stream.fileno(), False)
    output = Output(stream)
    thread = threading.Thread(target=output.write, args=(text,))
    thread.start()
    received = b""
    while len(received) < len(text):
        received += os.read(reader, 65_536)
    thread.join()
    assert received.decode() == text
    assert not output.closed


def test_a_full_pipe_is_given_up_in_the_end(
    pipe: tuple[int, TextIO], caplog: pytest.LogCaptureFixture
) -> None:
    """When the proxy stops, a reader that takes nothing is not waited for, and that is logged."""
    _, stream = pipe
    output = Output(stream)
    output.hurry(0.0)
    output.write("0123456789" * 50_000)
    assert output.closed
    assert "the last lines are lost" in caplog.text


def test_a_terminal_is_written_to_without_being_stuck_in_it() -> None:
    """A terminal is never blocked on, though it stays blocking for everybody else."""
    import pty

    reader, writer = pty.openpty()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        output = Output(stream)
        output.write("→ one\n")
        assert os.read(reader, 100).decode() == "→ one\r\n"
        assert os.get_blocking(stream.fileno())
        output.hurry(0.0)
        output.write("0123456789" * 50_000)
        assert output.closed
    os.close(reader)


def test_a_closed_pipe_ends_it_quietly(pipe: tuple[int, TextIO]) -> None:
    """When the reader has gone nothing is raised, and the stream itself has nothing to flush."""
    reader, stream = pipe
    output = Output(stream)
    os.close(reader)
    output.write("lost\n")
    assert output.closed
    output.write("not even tried\n")
    stream.flush()


def test_the_descriptor_goes_with_the_object(pipe: tuple[int, TextIO]) -> None:
    """The reader sees the end once stream and output are gone: nothing is leaked."""
    reader, stream = pipe
    output = Output(stream)
    output.write("last\n")
    stream.close()
    assert os.read(reader, 100) == b"last\n"
    del output
    assert os.read(reader, 100) == b""


def test_a_stream_without_a_descriptor() -> None:
    """Tests and notebooks replace standard output by objects of their own."""
    stream = io.StringIO()
    output = Output(stream)
    output.write("→ text\n")
    assert stream.getvalue() == "→ text\n"
    stream.close()
    output.write("more\n")
    assert output.closed


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "→ é 日 …"),
        ("ascii", "-> \\xe9 \\u65e5 ..."),
        ("latin-1", "-> é \\u65e5 ..."),
    ],
)
def test_other_encodings(tmp_path: Path, encoding: str, written: str) -> None:
    """What an encoding lacks is replaced; writing never fails for it."""
    path = tmp_path / "out"
    with path.open("w", encoding=encoding) as stream:
        Output(stream).write("→ é 日 …")
    assert path.read_text(encoding) == written


def test_standard_output_is_left_open(capfd: pytest.CaptureFixture[str]) -> None:
    """Whoever else prints can go on after the printer has gone."""
    output = Output(sys.stdout)
    output.write("one\n")
    del output
    sys.stdout.write("two\n")
    assert capfd.readouterr().out == "one\ntwo\n"
