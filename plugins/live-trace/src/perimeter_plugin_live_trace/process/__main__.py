"""
`python -m perimeter_plugin_live_trace.process`: started by the plugin, not by people.

The first line of standard input says what to do; its end means that the proxy is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

import msgspec

from perimeter import PerimeterError
from perimeter_plugin_live_trace.options import Options, Ready
from perimeter_plugin_live_trace.process.loop import run
from perimeter_plugin_live_trace.process.serving import Process


FAILED = 3
"""The exit code where it can't serve; standard output says why."""


def main() -> int:
    """Run the process; the result is its exit code."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    os.umask(0o077)
    say = _speaker()
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    options = msgspec.json.decode(line, type=Options)
    try:
        run(_run(options, say))
    except (PerimeterError, OSError) as error:
        say(Ready(error=str(error)))
        return FAILED
    return 0


async def _run(options: Options, say: Callable[[Ready], None]) -> None:
    process = Process(options, say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.stopping.set)
    watch = threading.Thread(target=_watch, args=(loop, process.stopping.set), daemon=True)
    watch.start()
    await process.run()


def _watch(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Wait until the proxy is gone, however it went."""
    while os.read(0, 4096):
        pass
    try:
        loop.call_soon_threadsafe(stop)
    except RuntimeError:  # it has ended already
        os._exit(0)


def _speaker() -> Callable[[Ready], None]:
    """
    Return what tells the proxy, and have everything else that is printed go to the log.

    What an extension prints would be taken for an answer, and would block later: nobody reads on.
    """
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return lambda ready: _write(pipe, msgspec.json.encode(ready) + b"\n")


def _write(pipe: int, line: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), os.fdopen(os.dup(pipe), "wb") as file:
        file.write(line)  # of a proxy that is gone, standard input tells, too


if __name__ == "__main__":
    sys.exit(main())
