"""The transport that asks AWS, through botocore.

One session and one client per region, each made once, when the region is first asked.

botocore takes 200 ms to import, so it is imported by a lane's thread when the first request is made, not with this
package.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from secretcache._transport import Failure, Fault
from secretcache._transport._quiet import quiet_bodies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secretcache._settings import Settings
    from secretcache._transport import Reply, Request
    from secretcache._transport._sessions import RegionClient

__all__ = ["BotocoreTransport", "making"]

_SERVICE = "secretsmanager"
_MAKING_SECONDS = 5.0


class _Making:
    """Knows the threads that import a module or make a client, so that a fork can wait until there is none.

    Each has a lock of its own and holds it meanwhile: `with making.one():`. A count that a method raises and lowers
    would be wrong for ever after an interrupt between the method and the `with` block, and every fork would wait.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """In a child: the threads of the parent are not there."""
        self._locks: set[weakref.ref[threading.RLock]] = set()
        self._paused: list[threading.RLock] = []
        self._gate = threading.RLock()
        self._sessions: weakref.WeakKeyDictionary[object, threading.Lock] = weakref.WeakKeyDictionary()

    def one(self) -> threading.RLock:
        """The lock to be held while a thread makes or imports something; it waits there while a fork goes on."""
        lock = threading.RLock()
        with self._gate:
            self._locks.add(weakref.ref(lock, self._locks.discard))
        return lock

    def pause(self) -> None:
        """Lets none begin, once those who did have ended; waits for them, five seconds at most in all."""
        self._gate.acquire()
        until = time.monotonic() + _MAKING_SECONDS
        for lock in [lock for reference in tuple(self._locks) if (lock := reference()) is not None]:
            if lock.acquire(timeout=max(0.0, until - time.monotonic())):
                self._paused.append(lock)

    def go_on(self) -> None:
        """Takes `pause` back."""
        while self._paused:
            with contextlib.suppress(RuntimeError):
                self._paused.pop().release()
        with contextlib.suppress(RuntimeError):
            self._gate.release()

    @contextlib.contextmanager
    def alone_with(self, session: object) -> Iterator[None]:
        """One thread at a time makes a client from a session: a factory may return the same one for two regions."""
        try:
            lock = self._sessions.setdefault(session, threading.Lock())
        except TypeError:  # a kind of session that cannot be remembered so
            lock = threading.Lock()
        with lock:
            yield


making = _Making()


class BotocoreTransport:
    """Sends requests through one botocore client per region."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._clients: dict[str, Future[RegionClient | Failure]] = {}
        self._ready: dict[str, RegionClient] = {}
        """Those of them that are made: a look here is all that most requests need."""
        self._loading: dict[str, tuple[str, float]] = {}
        """What keeps a region's requests from being sent, and since when."""
        self._closed = False

    def ready(self, region: str) -> bool:
        """Whether the client is made, and its credentials need not be renewed."""
        client = self._ready.get(region)
        return client is not None and not self._closed and client.has_credentials()

    def prepare(self, region: str) -> Failure | None:
        """Makes the region's session and client, and loads its credentials, if that is not done; the failure if any."""
        self._loading.setdefault(region, ("the client is still being made", time.monotonic()))
        try:
            return self._prepare(region)
        finally:
            self._loading.pop(region, None)

    def _prepare(self, region: str) -> Failure | None:
        client = self._take(region)
        if isinstance(client, Failure):
            return client
        try:
            self._note_provider(region, client.provider)
            with quiet_bodies():
                return client.load_credentials()
        finally:
            client.give_back()

    def pending(self, region: str) -> str:
        """What `prepare` is waiting for, in words; empty if it is not under way."""
        what, since = self._loading.get(region, ("", 0.0))
        return f"{what}, for {time.monotonic() - since:.1f} s" if what else ""

    def _note_provider(self, region: str, provider: str) -> None:
        what, since = f"credentials still loading ({provider})", time.monotonic()
        known = self._loading.get(region)
        self._loading[region] = (what, known[1] if known is not None and known[0] == what else since)

    def send(self, call: Request) -> Reply:
        """One request, without retries of botocore's own."""
        client = self._take(call.region)
        if isinstance(client, Failure):
            return client
        try:
            with quiet_bodies():
                unloaded = None if client.has_credentials() else client.load_credentials()
                return unloaded or client.send(call)
        finally:
            client.give_back()

    def reload(self) -> None:
        """Makes the next request to each region begin with a new session; requests under way end with the old one."""
        with self._lock:
            old, self._clients, self._ready = self._clients, {}, {}
        for made in old.values():
            _retire(made)

    def host(self, region: str) -> str:
        """The host requests go to: as seen once there was one; before that, the one they are expected to go to."""
        made = self._clients.get(region)
        client = made.result() if made is not None and made.done() else None
        if client is not None and not isinstance(client, Failure):
            return _hostname(client.endpoint)
        domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        return _hostname(self._settings.endpoint_urls.get(region, f"https://{_SERVICE}.{region}.{domain}"))

    def close(self) -> None:
        """Sends nothing any more. Closes idle connections; a request under way stops reading, and closes its own."""
        self._closed = True
        self.reload()

    def _take(self, region: str) -> RegionClient | Failure:
        ready = self._ready.get(region)
        if ready is not None and not self._closed and ready.take():
            return ready
        while not self._closed:
            with quiet_bodies(), making.one():
                client = self._client(region)
            # One that a reload has retired meanwhile is not there any more at the next look.
            if isinstance(client, Failure) or client.take():
                return client
        return Failure(Fault.LOCAL, "Closed", "the cache was closed")

    def _client(self, region: str) -> RegionClient | Failure:
        # The first thread makes the client, the others wait for it: no lock is held while user code (session_factory)
        # runs.
        mine: Future[RegionClient | Failure] = Future()
        with self._lock:
            clients = self._clients
            made = clients.setdefault(region, mine)
        if made is mine:
            self._make(region, clients, mine)
        return made.result()

    def _make(
        self, region: str, clients: dict[str, Future[RegionClient | Failure]], mine: Future[RegionClient | Failure]
    ) -> None:
        client = self._new_client(region)
        with self._lock:
            if isinstance(client, Failure):
                del clients[region]  # the next read tries again
            mine.set_result(client)
            forgotten = clients is not self._clients
            if not forgotten and not isinstance(client, Failure):
                self._ready[region] = client
        if forgotten:
            _retire(mine)

    def _new_client(self, region: str) -> RegionClient | Failure:
        # Whatever happens here, there is a result: other threads wait for it.
        try:
            from secretcache._transport._sessions import new_client  # noqa: PLC0415 - imports botocore

            return new_client(
                self._settings, region, making.alone_with, lambda: self._closed, partial(self._note_provider, region)
            )
        except BaseException as error:  # noqa: BLE001 - an import without a file or memory left, say
            why = f"no client for {region} could be made: {type(error).__name__}: {error}; the next read tries again"
            return Failure(Fault.LOCAL, type(error).__name__, why, cause=error.with_traceback(None))


def _retire(made: Future[RegionClient | Failure]) -> None:
    client = made.result() if made.done() else None  # one that is being made is retired by whoever makes it
    if client is not None and not isinstance(client, Failure):
        client.retire()


def _hostname(url: str) -> str:
    return urlsplit(url).hostname or url
