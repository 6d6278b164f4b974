"""Django's backends against real databases, rotation after rotation, with Django's own backends beside them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_ground import Site, databases
from secretcache import SecretCache, set_default_cache
from secretcache._demo.private import HOST
from servers import fresh_user
from support import PATIENCE, REGIONS, TOKYO
from test_connect_databases import Account, RotatingSecrets, Server, of_mariadb, of_postgres

__all__ = ["of_mariadb", "of_postgres"]

ROTATIONS = 4
POSTGRES, MYSQL = "secretcache.integrations.django.postgresql", "secretcache.integrations.django.mysql"


class Rotating:
    """A secret and its database account, one step of a rotation at a time; and the cache that reads it."""

    def __init__(self, server: Server, port: int) -> None:
        self.port = port
        self.secrets = RotatingSecrets()
        self.account = Account(fresh_user(), server, self.secrets, random.Random(7))  # noqa: S311 - passwords of a test
        self.account.create()
        self.cache = SecretCache(list(REGIONS), primary_region=TOKYO, ttl=1.0, _transport=self.secrets)
        self.noticed = threading.Event()
        self.cache.add_rotation_hook(self.account.name, lambda _: self.noticed.set())
        self.cache.get(self.account.name)

    def open_window(self) -> None:
        """The database has the new password, AWSCURRENT the old."""
        account = self.account
        self.old, self.new = account.version, account._new()
        self.secrets.show(account.name, 0.0, AWSCURRENT=self.old, AWSPENDING=self.new)
        account._set(self.new)

    def close_window(self) -> None:
        """AWSCURRENT has moved, and the process knows it."""
        self.noticed.clear()
        self.secrets.show(self.account.name, 0.0, AWSCURRENT=self.new, AWSPREVIOUS=self.old)
        self.account.version = self.new
        assert self.noticed.wait(PATIENCE)

    def rotate(self) -> None:
        self.open_window()
        self.close_window()

    def alias(self, **more: Any) -> dict[str, Any]:
        return {"SECRET": self.account.name, "HOST": HOST, "PORT": self.port, **more}

    @property
    def password(self) -> str:
        return str(self.cache.get(self.account.name)["password"])

    def refused(self) -> int:
        return self.account.server.refused_logins(self.account.name)


MakeRotating = Callable[[], Rotating]


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Rotating]]:
    made: list[Rotating] = []

    def one(database: str) -> Rotating:
        server: Server = request.getfixturevalue(f"of_{database}")
        made.append(Rotating(server, request.getfixturevalue(database).port))
        return made[-1]

    yield one
    for each in made:
        each.cache.close()


@pytest.fixture
def postgres_secret(make: Callable[[str], Rotating]) -> Iterator[Rotating]:
    """Its cache is the process's."""
    rotating = make("postgres")
    before = set_default_cache(rotating.cache)
    yield rotating
    set_default_cache(before)


# Under load


MODES = [
    pytest.param("postgres", {"ENGINE": POSTGRES, "NAME": "postgres"}, id="postgresql, a connection per request"),
    pytest.param(
        "postgres", {"ENGINE": POSTGRES, "NAME": "postgres", "CONN_MAX_AGE": None}, id="postgresql, persistent"
    ),
    pytest.param(
        "postgres",
        {"ENGINE": POSTGRES, "NAME": "postgres", "OPTIONS": {"pool": {"min_size": 2, "max_size": 3}}},
        id="postgresql, pool",
    ),
    pytest.param("mariadb", {"ENGINE": MYSQL}, id="mysql, a connection per request"),
    pytest.param("mariadb", {"ENGINE": MYSQL, "CONN_MAX_AGE": None}, id="mysql, persistent"),
]


@pytest.mark.parametrize(("database", "alias"), MODES)
def test_no_login_fails_through_rotations_under_load(
    database: str,
    alias: dict[str, Any],
    make: Callable[[str], Rotating],
    record_property: Callable[[str, object], None],
) -> None:
    ours, theirs = make(database), make(database)
    before = set_default_cache(ours.cache)
    try:
        with databases(site=ours.alias(**alias)) as connections:
            site = Site(lambda: connections, "site")
            stock = Site(lambda: reread(theirs, alias), "site", threads=1)
            with site.running(), stock.running():
                for _ in range(ROTATIONS):
                    site.until(served=9)
                    ours.open_window()
                    theirs.open_window()
                    site.until(served=9)
                    stock.until(failed=1)
                    ours.close_window()
                    theirs.close_window()
    finally:
        set_default_cache(before)
    record_property("django", {"site": site.counts, "stock": stock.counts, "refused": ours.refused()})
    assert site.errors == []
    assert ours.refused() > 0, "logins in the windows were bridged"
    assert stock.counts["failed"] >= ROTATIONS


def reread(theirs: Rotating, alias: dict[str, Any]) -> Any:
    """Django's own backend with the newest password, read anew for each request."""
    from django.db.utils import ConnectionHandler

    engine = alias["ENGINE"].replace("secretcache.integrations.django", "django.db.backends")
    name, password = theirs.account.name, theirs.password
    given = {"ENGINE": engine, "NAME": alias.get("NAME", ""), "USER": name, "PASSWORD": password}
    return ConnectionHandler({"default": {}, "site": {**given, "HOST": HOST, "PORT": theirs.port}})
