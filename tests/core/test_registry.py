"""Plugins: found, checked, built, put in order, started and stopped."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, ClassVar

import attrs
import pytest

from perimeter import Event, hookimpl, option, registry
from perimeter.dashboard import Extension
from perimeter.dialects import RAW
from perimeter.errors import ConfigError, PluginError
from perimeter.metrics import Metrics
from perimeter.settings import ServerSettings, Settings


@attrs.frozen
class Config:
    """Options of the plugins here."""

    size: int = option(1, help="A size.")


@attrs.define(eq=False)
class Plain:
    """A plugin that notes what happens to it, in a list that all of a test's plugins share."""

    Config: ClassVar[type] = Config
    heard: ClassVar[list[Any]]

    config: Config
    context: Any
    unset: int = attrs.field(init=False)  # as plugins have that fill it in `startup`

    @property
    def costly(self) -> None:
        """Must not be evaluated only because the plugin is loaded."""
        raise AssertionError

    def note(self, *what: Any) -> None:
        """Note something under the plugin's name."""
        self.heard.append((self.context.name, *what))


class Living(Plain):
    """Has a beginning and an end, async ones."""

    @hookimpl
    async def startup(self) -> None:
        """Begin."""
        self.note("startup")

    @hookimpl
    async def shutdown(self) -> None:
        """End."""
        self.note("shutdown")


@pytest.fixture(autouse=True)
def heard() -> list[Any]:
    """What the plugins of this test noted."""
    Plain.heard = []
    return Plain.heard


def load(
    plugins: dict[str, type] | None = None,
    tables: dict[str, Any] | None = None,
    metrics: Metrics | None = None,
    **more: Any,
) -> registry.Registry:
    """Load classes that are handed over, each with an empty table unless there are tables."""
    settings = Settings(
        server=ServerSettings(shutdown_timeout=5),
        plugins={name: {} for name in plugins or {}} if tables is None else tables,
        **more,
    )
    return registry.load(settings, metrics=metrics or Metrics(), extra=plugins or {})


def problems(plugins: dict[str, type], tables: dict[str, Any] | None = None) -> list[str]:
    """Return the problems that keep plugins from being loaded."""
    with pytest.raises(ConfigError) as caught:
        load(plugins, tables)
    return [str(problem) for problem in caught.value.problems]


# --- which plugins run ---------------------------------------------------------------------------


def test_tables_give_options():
    """A plugin is built with its table's options and a context of its own name."""
    made = load({"a": Plain}, {"a": {"enabled": True, "size": 3}}).plugins["a"]

    assert made.instance.config == Config(3)
    assert made.instance.context.name == "a"
    assert made.state == "loaded"


def test_plugins_that_are_not_named_are_idle():
    """Without a table, or switched off in it, a plugin is not even built."""
    loaded = load({"a": Plain, "b": Plain, "c": Plain}, {"a": {}, "b": {"enabled": False}})

    states = {name: (each.state, each.instance is None) for name, each in loaded.plugins.items()}
    assert {name: states[name] for name in "abc"} == {
        "a": ("loaded", False),
        "b": ("idle", True),
        "c": ("idle", True),
    }


def test_switched_off_plugins_need_not_be_there():
    """A table with `enabled = false` may be of a plugin that is not installed."""
    assert "nowhere" not in load(tables={"nowhere": {"enabled": False}}).plugins


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("no_such_plugin", "perimeter-plugin-no-such-plugin"),
        ("message_logger", "perimeter-plugin-recorders"),
        ("event_recorder", "perimeter-plugin-recorders"),
        ("http_recorder", "perimeter-plugin-recorders"),
    ],
)
def test_missing_plugins_say_how_to_get_them(name, distribution, monkeypatch):
    """A plugin that is named but not installed is an error that holds the line to type."""
    monkeypatch.setattr("perimeter.discovery.entry_points", lambda **_: [])

    (problem,) = problems({}, {name: {}})
    assert problem == f"plugins.{name}: is not installed: pip install {distribution}"


def test_all_problems_come_at_once():
    """Every plugin's problems are reported, with file and line where they are known."""
    settings = Settings(
        plugins={"a": {"size": "big", "color": 1}, "gone": {}, "b": {}},
        source=Path("p.toml"),
        lines={("plugins", "a"): 2, ("plugins", "a", "size"): 3, ("plugins", "gone"): 5},
    )
    with pytest.raises(ConfigError) as caught:
        registry.load(settings, metrics=Metrics(), extra={"a": Plain, "b": int})

    found = [str(problem) for problem in caught.value.problems]
    assert any(each.startswith("p.toml:3: plugins.a.size: must be an integer") for each in found)
    assert any(each.startswith("p.toml:2: plugins.a.color: is not an option") for each in found)
    assert any(each.startswith("p.toml:5: plugins.gone: is not installed") for each in found)
    assert any("plugins.b: has no Config" in each for each in found)


# --- installed ones ------------------------------------------------------------------------------


@pytest.fixture
def install(tmp_path: Path, monkeypatch) -> Iterator[Any]:
    """Install distributions with entry points, for this test only."""
    before = set(sys.modules)

    def install(distribution: str, entries: str, **modules: str) -> None:
        folder = tmp_path / distribution
        info = folder / f"{distribution}-1.2.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[perimeter.plugins]\n{entries}\n")
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()

    yield install
    for name in set(sys.modules) - before:
        del sys.modules[name]


GOOD = """
import attrs
from perimeter import hookimpl

@attrs.frozen
class Config:
    pass

@attrs.define(eq=False)
class Plugin:
    Config = Config
    config: Config
    context: object

    @hookimpl
    def on_request(self, exchange):
        pass
"""


def test_entry_points_are_found(install):
    """An installed plugin is loaded from its entry point, and described with its distribution."""
    install("fine", "fine = fine_module:Plugin", fine_module=GOOD)

    described = {each["name"]: each for each in load(tables={"fine": {}}).describe()}
    assert described["fine"] == {
        "name": "fine",
        "distribution": "fine",
        "version": "1.2",
        "state": "loaded",
        "hooks": ["on_request"],
        "config": {},
    }


SPEAKS = (
    GOOD
    + """
    @hookimpl
    def dialects(self):
        import re
        from perimeter.dialects import OpenAIChat

        return [OpenAIChat("acme.chat", "openai", re.compile("/acme"))]
"""
)


def test_dialects_without_a_proxy(install):
    """Each plugin is asked apart: what is wrong with one is told, and others that add none rest."""
    install("acme", "acme = acme_module:Plugin", acme_module=SPEAKS)
    fails = SPEAKS.replace(
        "        return [", "        raise RuntimeError('never')\n        return ["
    )
    install("fails", "fails = fails_module:Plugin", fails_module=fails)
    quiet = GOOD.replace("    context: object", "    context: object\n    never: object", 1)
    install("quiet", "quiet = quiet_module:Plugin", quiet_module=quiet)
    install("off", "off = off_module:Plugin", off_module="raise SystemExit('off')")
    tables: dict[str, Any] = {name: {} for name in ("fails", "quiet", "missing", "acme")}

    found, problems = registry.dialects_of(Settings(plugins=tables | {"off": {"enabled": False}}))
    assert [each.name for each in found] == ["acme.chat"]
    (fault, missing) = map(str, problems)
    assert "never" in fault
    assert "is not installed" in missing


async def test_what_hooks_cost_is_told():
    """The calls of each plugin's hooks are counted, with their time and failures."""
    loaded = load({"a": Living, "b": Living, "c": Plain})
    assert loaded.hook_calls() == {}
    await loaded.startup()
    for bound in loaded.lifecycle["startup"]:
        bound.failed(ValueError("no"))
    found = loaded.hook_calls()
    await loaded.shutdown()

    assert {name: list(hooks) for name, hooks in found.items()} == {
        "a": ["startup"],
        "b": ["startup"],
    }
    assert [found["a"]["startup"].calls, found["a"]["startup"].failures] == [1, 1]
    assert found["a"]["startup"].seconds > 0


def test_idle_plugins_are_not_imported(install):
    """A plugin that is only installed can do no harm: its code does not run."""
    install("harm", "harm = harm_module:Plugin", harm_module="raise SystemExit('harm')")

    described = {each["name"]: each for each in load().describe()}
    assert described["harm"]["state"] == "idle"
    assert "harm_module" not in sys.modules


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise SystemExit('harm')", "cannot be imported: SystemExit('harm')"),
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        ("Plugin = 5", "is no class"),
        ("", "cannot be imported"),
    ],
)
def test_broken_plugins_are_problems(install, source, said):
    """Whatever importing a plugin does, it becomes a problem of that plugin."""
    install("harm", "harm = harm_module:Plugin", harm_module=source)

    (problem,) = problems({}, {"harm": {}})
    assert problem.startswith("plugins.harm: harm_module:Plugin")
    assert said in problem


def test_names_are_unique(install):
    """Two distributions with a plugin of the same name can't both be meant."""
    install("one", "same = one_module:Plugin", one_module=GOOD)
    install("two", "same = two_module:Plugin", two_module=GOOD)

    (problem,) = problems({}, {"same": {}})
    assert "uninstall all but one" in problem
    assert "one" in problem
    assert "two" in problem


def test_installed_lists_everything(install):
    """`installed` imports all, keeps what goes wrong, and knows the options and hooks."""
    install("fine", "fine = fine_module:Plugin", fine_module=GOOD)
    install("harm", "harm = harm_module:Plugin", harm_module="1 / 0")

    found = registry.installed()
    assert found["fine"].hooks == ["on_request"]
    assert found["fine"].runs_without_options
    assert found["fine"].problem == ""
    assert "ZeroDivisionError" in found["harm"].problem
    assert not found["harm"].runs_without_options


# --- what a class must be like -------------------------------------------------------------------


def marked(function: Any, **options: Any) -> Any:
    """Mark a copy of a function as a hook; marks are kept on the function itself."""
    copy = FunctionType(function.__code__, function.__globals__, argdefs=function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return hookimpl(**options)(copy)


def members(**functions: Any) -> type:
    """Make a plugin class with these functions."""
    return type("Made", (Plain,), functions)


class Unfrozen(Plain):
    """Its options can be changed."""

    @attrs.define
    class Config:
        """Not frozen."""

        size: int = option(1, help="A size.")


class Unexplained(Plain):
    """Its options say nothing."""

    @attrs.frozen
    class Config:
        """Without help and default."""

        size: int
        enabled: bool = option(True, help="Whether it runs.")


@attrs.define
class Comparable:
    """Compares by value, so it has no hash."""

    Config: ClassVar[type] = Config
    config: Any
    context: Any


async def _async(self: Any, exchange: Any) -> None: ...
async def _async_routes(self: Any) -> None: ...
def _plain(self: Any, exchange: Any) -> None: ...
def _static(exchange: Any) -> None: ...
def _generator(self: Any, exchange: Any) -> Any:
    yield


def _default(self: Any, exchange: Any = None) -> None: ...
def _keyword(self: Any, *, exchange: Any) -> None: ...
def _unknown(self: Any, exchange: Any, extra: Any) -> None: ...
def _any(self: Any, *exchange: Any) -> None: ...


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (members(on_request=_plain), "method on_request is named like a hook: put @hookimpl"),
        (members(on_reqest=marked(_plain)), "on_reqest is not known; did you mean on_request?"),
        (members(on_request=marked(_async)), "on_request is async, but observers are not"),
        (members(routes=marked(_async_routes)), "routes is async, but"),
        (members(on_request=marked(_generator)), "on_request has a `yield`"),
        (members(on_request=marked(_generator, wrapper=True)), "on_request is a wrapper"),
        (members(on_request=marked(_default)), "gives exchange a default"),
        (members(on_request=marked(_keyword)), "takes exchange by keyword only"),
        (members(on_request=marked(_unknown)), "unknown argument extra; it may take exchange"),
        (members(on_request=marked(_any)), "has the argument *exchange"),
        (members(startup=marked(_plain)), "unknown argument exchange; it takes none"),
        (members(guard_response=marked(_plain)), "streams pass it: implement guard_stream"),
        (members(api=2), "is written for plugin API 2, this Perimeter has 1"),
        (Unfrozen, "its Config can be changed"),
        (Unexplained, "option size has no default"),
        (Unexplained, "option size has no help"),
        (Unexplained, "option `enabled`"),
        (Comparable, "@attrs.define(eq=False)"),
    ],
)
def test_mistakes_are_refused(cls, said):
    """A mistake that would only show in the middle of traffic is a problem at the start."""
    assert any(said in problem for problem in problems({"made": cls}))


def test_names_fit_into_metrics_and_paths():
    """A plugin's name is also its folder's, its routes' and its metrics'."""
    assert "lower-case letters" in problems({"../up": Plain})[0]


@pytest.mark.parametrize(
    "cls",
    [
        members(guard_response=marked(_plain), streams_may_pass=True),
        members(guard_response=marked(_plain), guard_stream=marked(_plain)),
        members(on_request=staticmethod(marked(_static))),
        members(observe=marked(_plain, specname="on_request")),
        members(from_the_future=marked(_plain, optionalhook=True)),
        members(guard_request=marked(_async)),
    ],
)
def test_sound_classes_are_loaded(cls):
    """What looks unusual but works is not refused."""
    assert load({"made": cls}).plugins["made"].state == "loaded"


def test_a_failing_constructor_is_named():
    """A plugin that can't be built stops the start, and the message names it and the reason."""

    def fail(self: Any) -> None:
        raise ValueError("no disk")

    cls = attrs.define(eq=False)(type("Made", (Plain,), {"__attrs_post_init__": fail}))
    with pytest.raises(PluginError, match=r"'made': can't be built: ValueError: no disk"):
        load({"made": cls})


# --- order, lifecycle ----------------------------------------------------------------------------


class Listener(Plain):
    """Notes events."""

    @hookimpl
    def on_session_event(self, event: Event) -> None:
        """Note it."""
        self.note(event.name)


class Early(Plain):
    """Asks to hear first."""

    @hookimpl(tryfirst=True)
    def on_session_event(self, event: Event) -> None:
        """Note it."""
        self.note(event.name)


def test_tables_give_the_order(heard):
    """Hooks are called in the order of the tables, except where a plugin asks to be first."""
    plugins = {"a": Listener, "b": Listener, "c": Early}
    load(plugins, {"b": {}, "a": {}, "c": {}}).publish(None, Event("e", 1.0))

    assert heard == [("c", "e"), ("b", "e"), ("a", "e")]


async def test_life_is_nested(heard):
    """Plugins start in call order, and stop in reverse."""
    loaded = load({"a": Living, "b": Living})
    close = await loaded.supervise()
    await loaded.startup()
    await loaded.shutdown()
    await close()

    assert heard == [("a", "startup"), ("b", "startup"), ("b", "shutdown"), ("a", "shutdown")]


class Broken(Living):
    """Neither starts nor stops well."""

    @hookimpl
    def startup(self) -> None:
        """Fail."""
        raise OSError("port taken")

    @hookimpl
    def shutdown(self) -> None:
        """Fail."""
        raise OSError("still busy")


async def test_a_failed_start_is_undone(heard):
    """Those that had started are shut down again, the failing one and later ones are not."""
    loaded = load({"a": Living, "b": Living, "bad": Broken, "c": Living})
    with pytest.raises(PluginError, match="'bad': startup failed: OSError: port taken"):
        await loaded.startup()

    assert heard == [("a", "startup"), ("b", "startup"), ("b", "shutdown"), ("a", "shutdown")]
    assert loaded.plugins["bad"].state == "failed"


class Endless(Living):
    """Is never done with its beginning."""

    @hookimpl
    async def startup(self) -> None:
        """Begin, and wait for ever."""
        self.note("startup")
        await asyncio.Event().wait()


class Waiting(Plain):
    """Is never done with setting up what there is one of per proxy."""

    @hookimpl
    async def supervise(self) -> None:
        """Begin, and wait for ever."""
        self.note("supervise")
        await asyncio.Event().wait()


@pytest.mark.parametrize("hook", ["startup", "supervise"])
async def test_a_cancelled_start_is_undone(hook, heard):
    """Ctrl-C while the plugins start stops those that had started, and is not swallowed."""
    if hook == "startup":
        loaded = load({"a": Living, "b": Endless, "c": Living})
    else:
        loaded = load({"a": Supervised, "b": Waiting, "c": Supervised})
    start = asyncio.get_running_loop().create_task(getattr(loaded, hook)())
    while not heard or heard[-1][0] != "b":
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start

    assert [name for name, *_ in heard] == ["a", "b", "a"]
    assert loaded.plugins["b"].state == "loaded"


async def test_a_failed_end_is_only_logged(heard, caplog):
    """A plugin that fails to stop is logged and counted; the others are stopped all the same."""
    metrics = Metrics()
    loaded = load({"a": Living, "bad": Broken}, metrics=metrics)
    await loaded.shutdown()

    assert heard == [("a", "shutdown")]
    assert "plugin bad failed in shutdown" in caplog.text
    page = metrics.render("")[0].decode()
    assert 'perimeter_hook_failures_total{hook="shutdown",plugin="bad"} 1.0' in page


class Supervised(Plain):
    """Sets something up for the whole proxy."""

    @hookimpl
    async def supervise(self) -> Any:
        """Return what lets go of it."""
        self.note("supervise")

        async def close() -> None:
            self.note("close")

        return close


class Unsupervised(Plain):
    """Can't set anything up."""

    @hookimpl
    def supervise(self) -> Any:
        """Fail."""
        raise OSError("no port")


async def test_supervision_is_let_go_of_in_reverse(heard):
    """What `supervise` returned is called at the very end, the last one first."""
    close = await load({"a": Supervised, "b": Supervised}).supervise()
    assert heard == [("a", "supervise"), ("b", "supervise")]
    await close()

    assert heard[2:] == [("b", "close"), ("a", "close")]


async def test_failed_supervision_is_undone(heard):
    """What had been set up before the failure is let go of."""
    loaded = load({"a": Supervised, "bad": Unsupervised, "b": Supervised})
    with pytest.raises(PluginError, match="'bad': supervise failed: OSError: no port"):
        await loaded.supervise()

    assert heard == [("a", "supervise"), ("a", "close")]


class Working(Living):
    """Has a queue, a task and an HTTP client."""

    def __attrs_post_init__(self) -> None:
        """Make the queue before there is a loop."""
        self.queue = self.context.worker(lambda batch: self.note("batch", *batch), linger=60)

    @hookimpl
    async def startup(self) -> None:
        """Begin to wait, for ever."""
        self.task = self.context.spawn(asyncio.Event().wait())
        self.client = self.context.http
        self.queue.put("early")

    @hookimpl
    async def shutdown(self) -> None:
        """Queue a last item."""
        self.queue.put("late")


async def test_everything_is_let_go_of(heard):
    """At the end queues are handled, tasks are cancelled and the HTTP client is closed."""
    loaded = load({"a": attrs.define(eq=False, slots=False)(Working)})
    plugin = loaded.plugins["a"].instance
    await loaded.startup()
    assert not plugin.client.is_closed
    await loaded.shutdown()

    assert heard == [("a", "batch", "early", "late")]
    assert plugin.task.cancelled()
    assert plugin.client.is_closed


# --- contributions and descriptions --------------------------------------------------------------


class Giving(Plain):
    """Contributes to the application."""

    @hookimpl
    def routes(self) -> list[Any]:
        """Return something like a route."""
        return ["page"]

    @hookimpl
    def dialects(self) -> list[Any]:
        """Return a dialect."""
        return [RAW]

    @hookimpl
    def dashboard(self) -> Extension:
        """Return something for a dashboard."""
        return Extension("somewhere:make", {"by": self.context.name})


def test_contributions_are_gathered():
    """Routes and dialects are there when the application is built; the rest when asked for."""
    loaded = load({"a": Giving, "b": Plain})

    assert loaded.routes() == {"a": ["page"]}
    assert list(loaded.dialects) == [RAW]
    assert loaded.contributions("dashboard") == {"a": Extension("somewhere:make", {"by": "a"})}


@pytest.mark.parametrize(
    ("hook", "result", "said"),
    [
        ("routes", 5, "routes returned int, not Sequence"),
        ("dialects", ["x"], "dialects returned str, which is no Dialect"),
        ("dialects", OSError("no file"), "dialects failed: OSError: no file"),
    ],
)
def test_bad_contributions_are_fatal(hook, result, said):
    """A contribution that fails or is of no use stops the start."""

    def give(self: Any) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    with pytest.raises(PluginError, match=said):
        load({"a": members(**{hook: hookimpl(give)})})


def test_places_are_those_in_use(tmp_path, monkeypatch):
    """The data folder is told about as soon as a plugin uses it, and not before."""
    monkeypatch.setenv("PERIMETER_DATA_DIR", str(tmp_path))
    loaded = load({"a": Plain})
    assert loaded.places() == []
    _ = loaded.plugins["a"].instance.context.data_dir

    assert loaded.places() == [f"data: {tmp_path}"]


def test_plugins_are_in_the_metrics():
    """Plugins, their hooks and their queues can be seen from outside."""
    metrics = Metrics()
    loaded = load({"a": Listener}, metrics=metrics)
    loaded.publish(None, Event("e", 1.0))
    context = loaded.plugins["a"].instance.context
    worker = context.worker(print, queue=2)
    for number in range(5):
        worker.put(number)
    page = metrics.render("")[0].decode()

    assert 'perimeter_plugin_info{plugin="a",state="loaded",version=""} 1.0' in page
    assert 'perimeter_hook_seconds_count{hook="on_session_event",plugin="a"} 1.0' in page
    assert 'perimeter_worker_queue_depth{plugin="a"} 2.0' in page
    assert 'perimeter_worker_dropped_total{plugin="a"} 3.0' in page
