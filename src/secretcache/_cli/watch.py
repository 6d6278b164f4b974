"""`secretcache watch`: secrets, regions and what happens to them, live. Never a value."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from secretcache._cli.common import Endpoints, Regions, Timeout, environment, exits, is_terminal, new_cache, say
from secretcache._errors import CacheClosedError, ConfigurationError, SecretCacheError
from secretcache._ids import parse_secret_id
from secretcache._settings import check_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from secretcache._cache import SecretCache
    from secretcache._events import Event
    from secretcache._secret import Secret

__all__ = ["add"]

_LEAST_INTERVAL = 1.0
_TICK = 0.5
_PAUSE = 0.2
"""Between two reads of a secret: nearly all of them hits."""
_KEPT = 8
"""Lines of what happened that stay on the screen."""
_QUIET = frozenset({"call"})


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Follows secrets and regions live: versions, rotations, breakers, failover. Ctrl-C ends it.")(
        watch
    )


def watch(  # noqa: PLR0913 - each an option of its own
    secrets: Annotated[list[str], typer.Argument(metavar="SECRET", help="Names or ARNs.")],
    *,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", help="How often each secret is asked for; 1 or more.")
    ] = 5.0,
    length: Annotated[
        float | None, typer.Option("--for", metavar="SECONDS", help="Ends by itself after that time.")
    ] = None,
    regions: Regions = None,
    endpoint_urls: Endpoints = None,
    timeout: Timeout = None,
) -> None:
    """Watches until Ctrl-C."""
    with exits():
        if not interval >= _LEAST_INTERVAL:
            raise ConfigurationError(f"--interval must be {_LEAST_INTERVAL:g} second or more, got {interval:g}")
        seconds = check_duration("--for", length, positive=True) if length is not None else float("inf")
        environ = environment(regions, endpoint_urls, timeout)
        with new_cache(environ, ttl=interval, refresh="background") as cache:
            _check(secrets, cache)
            _follow(_Watch(cache, tuple(dict.fromkeys(secrets))), seconds)


def _check(secrets: Sequence[str], cache: SecretCache) -> None:
    for secret in secrets:
        parse_secret_id(secret, tuple(cache.region_health()))


def _follow(watched: _Watch, seconds: float) -> None:
    until = time.monotonic() + seconds
    screen = _open_screen(watched)
    with screen:
        watched.start()
        try:
            while (left := until - time.monotonic()) > 0:
                screen.show(watched.lines(min(_TICK, left)))
        finally:
            screen.show(watched.lines(0.0))
            say(watched.cost())


@dataclass(eq=False)
class _Watch:
    """What is followed, and what has happened since somebody last looked."""

    cache: SecretCache
    secrets: tuple[str, ...]
    shown: dict[str, Secret | SecretCacheError] = field(default_factory=dict)
    _outlines: dict[str, object] = field(default_factory=dict)
    """As it was then: a value that is kept turns stale by itself."""
    _happened: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)

    def start(self) -> None:
        """Begins to read: a thread for each secret, so that one that hangs holds up no other."""
        self.cache.add_event_hook(self._noticed)
        for secret in self.secrets:
            threading.Thread(target=self._read_on, args=(secret,), name=f"watch-{secret}", daemon=True).start()

    def lines(self, seconds: float) -> Iterator[str]:
        """What happens within that time, as it happens."""
        until = time.monotonic() + seconds
        with suppress(queue.Empty):
            while True:
                yield self._happened.get(timeout=max(0.0, until - time.monotonic()))

    def cost(self) -> str:
        """What it has cost so far."""
        stats = self.cache.stats()
        return f"{stats.calls} calls ({stats.calls_usd:.5f} USD), {stats.calls_saved} saved"

    def _read_on(self, secret: str) -> None:
        pause = threading.Event()
        while self._read_once(secret):
            pause.wait(_PAUSE)

    def _read_once(self, secret: str) -> bool:
        try:
            self._saw(secret, self.cache.get(secret))
        except CacheClosedError:
            return False
        except SecretCacheError as error:
            self._saw(secret, error)
        return True

    def _saw(self, secret: str, now: Secret | SecretCacheError) -> None:
        before, outline = self._outlines.get(secret), _outline(now)
        self.shown[secret], self._outlines[secret] = now, outline
        if before != outline:
            self._happened.put(f"{_clock()}  {secret}: {_told(now)}")

    def _noticed(self, event: Event) -> None:
        if event.name not in _QUIET:
            words = (event.region, event.secret_id, event.outcome, event.detail)
            self._happened.put(f"{_clock()}  {event.name}: {'; '.join(word for word in words if word)}")


def _clock() -> str:
    return datetime.now(timezone.utc).strftime("%H:%M:%SZ")


def _outline(shown: Secret | SecretCacheError) -> object:
    """What makes it worth a new line."""
    if isinstance(shown, SecretCacheError):
        return type(shown)
    return shown.version_id, shown.version_stages, shown.region, shown.is_stale


def _told(shown: Secret | SecretCacheError) -> str:
    if isinstance(shown, SecretCacheError):
        return f"{type(shown).__name__}: {shown}"
    stale = f", STALE: {shown.age():.0f} s old" if shown.is_stale else ""
    return f"version {shown.version_id} ({', '.join(shown.version_stages)}) from {shown.region}{stale}"


class _Plain(nullcontext[None]):
    """Lines, as they happen."""

    def show(self, lines: Iterator[str]) -> None:
        for line in lines:
            say(line)


class _Screen:
    """A view that is drawn again and again at the same place."""

    def __init__(self, watched: _Watch) -> None:
        self._watched = watched
        self._kept: deque[str] = deque(maxlen=_KEPT)
        self._live = Live(console=Console(highlight=False), auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def show(self, lines: Iterator[str]) -> None:
        """Draws what is known now, once the lines are over."""
        self._kept.extend(lines)
        self._live.update(_view(self._watched, list(self._kept)), refresh=True)


def _open_screen(watched: _Watch) -> Any:
    return _Screen(watched) if is_terminal() else _Plain()


def _view(watched: _Watch, happened: list[str]) -> Group:
    lines = [Text(line, overflow="ellipsis", no_wrap=True) for line in happened]
    return Group(_secrets(watched), "", _regions(watched), "", *lines, Text(watched.cost(), style="dim"))


def _secrets(watched: _Watch) -> Table:
    table = _columns("secret", "version", "stages", "from", "age")
    for name in watched.secrets:
        shown = watched.shown.get(name)
        if shown is None or isinstance(shown, SecretCacheError):
            table.add_row(escape(name), Text(type(shown).__name__ if shown else "…", style="red" if shown else ""))
            continue
        age = Text(f"{shown.age():.0f} s", style="bold yellow" if shown.is_stale else "")
        table.add_row(escape(name), shown.version_id, ", ".join(shown.version_stages), shown.region, age)
    return table


def _regions(watched: _Watch) -> Table:
    table = _columns("region", "state", "calls", "failed", "p50", "last error")
    for health in watched.cache.region_health().values():
        state = Text(health.state, style="" if health.state == "closed" else "bold red")
        p50 = "" if health.latency_p50_seconds is None else f"{health.latency_p50_seconds * 1000:.0f} ms"
        table.add_row(health.region, state, f"{health.calls}", f"{health.failures}", p50, health.last_error or "")
    return table


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, header_style="dim", overflow="fold")
    return table
