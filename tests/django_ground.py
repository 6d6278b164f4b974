"""Django inside the tests' own process: its settings once, and databases as each test says."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django
from django.conf import settings
from django.db.utils import ConnectionHandler

__all__ = ["databases", "run"]

if not settings.configured:
    settings.configure(USE_TZ=True, SECRET_KEY="of the tests", INSTALLED_APPS=["django.contrib.contenttypes"])
    django.setup()


@contextmanager
def databases(**aliases: dict[str, Any]) -> Iterator[ConnectionHandler]:
    """Django's `connections`, for these aliases alone; what this thread opened is closed at the end, and every pool."""
    handler = ConnectionHandler({"default": {}, **copy.deepcopy(aliases)})
    try:
        yield handler
    finally:
        for alias in aliases:
            connection: Any = handler[alias]
            connection.close()
            if getattr(connection, "pool", None):
                connection.close_pool()


def run(connection: Any) -> Any:
    """What a request does to a connection, Django's own end of it included."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return cursor.fetchone()
    finally:
        connection.close_if_unusable_or_obsolete()
