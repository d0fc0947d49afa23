"""The live-trace process, seen from the proxy: started, started again, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs
import msgspec

from perimeter_plugin_live_trace import browser, socket_path
from perimeter_plugin_live_trace.carrying import packed
from perimeter_plugin_live_trace.config import Config
from perimeter_plugin_live_trace.options import Options, Ready, plain


if TYPE_CHECKING:
    from perimeter import PluginContext
    from perimeter.dashboard import Extension
    from perimeter.dialects import Dialect

START_SECONDS = 20.0
"""After which a process that has said nothing is taken for dead."""
STOP_SECONDS = 5.0
RETRY_SECONDS = (0.2, 30.0)
"""Until it is started again: at first and at most."""
STEADY_SECONDS = 30.0
"""A process that ran this long begins with the shortest wait again."""
MODULE = "perimeter_plugin_live_trace.process"


@attrs.define(eq=False, repr=False)
class Child:
    """
    The process.

    Attributes:
        config: The plugin's options.
        context: The plugin's.
        process: What runs now, if anything does.
    """

    config: Config
    context: PluginContext
    process: Process | None = None
    _keeping: asyncio.Task[None] | None = None
    _told: str = ""
    _announced: bool = False
    _port: int | None = None

    async def start(self) -> None:
        """Start it and see that it stays. Where it can't run, traffic goes on without it."""
        ready = await self._run()
        self._keeping = self.context.spawn(self._keep(ready), name="live trace: process")
        if not ready.error and self.config.auto_open_browser and browser.is_there():
            browser.open_soon(ready.open)

    async def stop(self) -> None:
        """Stop it, and let it write what it has."""
        if self._keeping is not None:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        await self._end()

    async def _keep(self, ready: Ready) -> None:
        """Start it again whenever it has ended."""
        clock = self.context.clock
        patience = RETRY_SECONDS[0]
        while True:
            began = clock.monotonic()
            code = await self.process.wait() if self.process is not None else None
            if clock.monotonic() - began > STEADY_SECONDS:
                patience = RETRY_SECONDS[0]
            if not ready.error:
                self.context.log.error(
                    "the live-trace process ended (%s) and is started again", code
                )
            await asyncio.sleep(patience)
            patience = min(patience * 2, RETRY_SECONDS[1])
            ready = await self._run()

    async def _run(self) -> Ready:
        """Start it once, and hear what it says."""
        try:
            self.process = await self._spawn()
            async with asyncio.timeout(START_SECONDS):
                ready = await self._hear(self.process)
        except (OSError, TimeoutError) as error:
            ready = Ready(error=str(error) or "it did not start in time")
        if ready.error:
            await self._end()
        self._tell(ready)
        return ready

    async def _spawn(self) -> Process:
        # A session of its own: Ctrl-C in a terminal is for the proxy, which ends this one last.
        here = str(Path.cwd()) in sys.path or "" in sys.path
        flags = [] if here else ["-P"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *flags, "-m", MODULE, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        if process.stdin is not None:
            process.stdin.write(msgspec.json.encode(self._options()) + b"\n")
        return process

    def _options(self) -> Options:
        extensions: dict[str, Extension] = dict(self.context.contributed("dashboard"))
        dialects: dict[str, Sequence[Dialect]] = dict(self.context.contributed("dialects"))
        return Options(
            # One that is started again is where the other was: pages are open in browsers.
            config={**plain(self.config), "server_port": self._port or self.config.server_port},
            data_dir=str(self.context.data_dir),
            ingest=str(socket_path.of(self.context)),
            proxy=self.context.address,
            host=self.config.server_host or browser.default_host(),
            extensions={
                name: (each.factory, dict(each.options)) for name, each in extensions.items()
            },
            dialects=packed(chain.from_iterable(dialects.values())),
            pricing={name: attrs.asdict(each) for name, each in self.context.pricing.items()},
        )

    @staticmethod
    async def _hear(process: Process) -> Ready:
        line = await process.stdout.readline() if process.stdout is not None else b""
        if not line:
            return Ready(error=f"it ended with exit code {await process.wait()}")
        try:
            return msgspec.json.decode(line, type=Ready)
        except msgspec.MsgspecError:
            return Ready(error="it said something else than that it is ready")

    def _tell(self, ready: Ready) -> None:
        """Tell how it went; the same trouble again and again only once."""
        log = self.context.log
        if ready.error:
            if ready.error != self._told:
                log.error("live trace does not run, traffic goes on without it: %s", ready.error)
            self._told = ready.error
            return
        self._told = ""
        self._port = urlsplit(ready.url).port
        log.info("the dashboard is at %s", ready.url)
        for note in ready.notes:
            log.info("%s", note)
        if not self._announced:
            self._announced = True
            self.context.announce(f"dashboard: {ready.open or ready.url}")
            for note in ready.notes:
                self.context.announce(note)

    async def _end(self) -> None:
        process = self.process
        if process is None or process.returncode is not None:
            return
        if process.stdin is not None:
            process.stdin.close()  # which is how it learns that its parent is gone
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
