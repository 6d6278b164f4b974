"""Django inside the tests' own process: settings once, and databases as each test says."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import django
from django.conf import settings
from django.db.utils import ConnectionHandler

if not settings.configured:
    settings.configure(USE_TZ=True, SECRET_KEY="of the tests", DATABASES={})
    django.setup()

__all__ = ["Site", "databases"]

PATIENCE = 60.0


@contextmanager
def databases(**aliases: dict[str, Any]) -> Iterator[ConnectionHandler]:
    """Django's `connections`, for these aliases alone; what this thread opened is closed, and every pool."""
    handler = ConnectionHandler({"default": {}, **aliases})
    try:
        yield handler
    finally:
        for alias in aliases:
            handler[alias].close()
            if getattr(handler[alias], "pool", None):
                handler[alias].close_pool()  # type: ignore[attr-defined]


@dataclass
class Site:
    """Threads that serve requests all the time, as a server's do: a query each, and Django's own end of a request.

    Every third request finds its connection broken afterwards, so that new logins are needed at any time.
    """

    connections: Callable[[], ConnectionHandler]
    alias: str
    threads: int = 3
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(self.threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self.over.set()
            for worker in workers:
                worker.join(PATIENCE)
            assert not any(worker.is_alive() for worker in workers)

    def until(self, **more: int) -> None:
        """Returns when so many more have been counted."""
        with self.changed:
            wanted = {name: self.counts[name] + number for name, number in more.items()}
            reached = self.changed.wait_for(lambda: all(self.counts[name] >= wanted[name] for name in wanted), PATIENCE)
            assert reached, (wanted, self.counts, self.errors)

    def _work(self) -> None:
        number = 0
        while not self.over.wait(0.01):
            number += 1
            try:
                self._serve(broken=number % 3 == 0)
                word = "served"
            except Exception as error:  # noqa: BLE001 - each is counted
                self.errors.append(error)
                word = "failed"
            with self.changed:
                self.counts.update([word])
                self.changed.notify_all()
        self.connections()[self.alias].close()

    def _serve(self, *, broken: bool) -> None:
        connection = self.connections()[self.alias]
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                assert cursor.fetchone() == (1,)
            if broken:
                self._break(connection)
        finally:
            connection.close_if_unusable_or_obsolete()

    def _break(self, connection: Any) -> None:
        if getattr(connection, "pool", None):
            connection.connection.close()
            connection.errors_occurred = True
        else:
            connection.close()
