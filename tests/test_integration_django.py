"""Django's backends against real databases, rotation after rotation, with Django's own backends beside them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from django_ground import databases, run
from rotation_load import HALF_FAILED, WHOLE, Load, Rotating
from secretcache import set_default_cache
from secretcache._demo.private import HOST
from servers import need

ENGINES = "secretcache.integrations.django"
POSTGRES = {"ENGINE": f"{ENGINES}.postgresql", "NAME": "postgres"}
MYSQL = {"ENGINE": f"{ENGINES}.mysql", "NAME": ""}
PERSISTENT = {"CONN_MAX_AGE": None}
POOL = {"OPTIONS": {"pool": {"min_size": 2, "max_size": 3, "timeout": 60.0}}}

ROTATIONS = (WHOLE, HALF_FAILED)

Make = Callable[[str], Rotating]


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Accounts of the databases; the cache of the last one is the process's."""
    made: list[Rotating] = []

    def one(database: str) -> Rotating:
        need("psycopg" if database == "postgres" else "MySQLdb")
        server: Any = request.getfixturevalue(database)
        create = server.create_role if database == "postgres" else server.create_user
        made.append(Rotating(create, server.set_password, host=HOST, port=server.port))
        set_default_cache(made[-1].cache)
        return made[-1]

    before = set_default_cache(None)
    yield one
    set_default_cache(before)
    for each in made:
        each.cache.close()


MODES = [
    pytest.param("postgres", POSTGRES, id="postgresql, a connection per request"),
    pytest.param("postgres", {**POSTGRES, **PERSISTENT}, id="postgresql, persistent"),
    pytest.param("postgres", {**POSTGRES, **POOL}, id="postgresql, pool"),
    pytest.param("mariadb", MYSQL, id="mysql, a connection per request"),
    pytest.param("mariadb", {**MYSQL, **PERSISTENT}, id="mysql, persistent"),
]


@pytest.mark.parametrize(("database", "alias"), MODES)
def test_no_login_fails_through_rotations_under_load(
    database: str, alias: dict[str, Any], make: Make, record_property: Callable[[str, object], None]
) -> None:
    account, requests = make(database), itertools.count(1)
    bridges = account.bridges()
    with databases(site={**alias, "SECRET": account.secret_id}) as connections, closed_at_the_end() as used:

        def serve() -> None:
            """Every second request finds its connection broken at its end, so that logins go on all the time."""
            connection: Any = used(connections["site"])
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                assert cursor.fetchone() == (1,)
            if next(requests) % 2:
                break_(connection)
            connection.close_if_unusable_or_obsolete()

        with Load(serve, workers=2) as load, Load(lambda: serve_stock(account, alias), workers=1) as stock:
            for kind in ROTATIONS:
                account.rotate(kind, load, stock)
    figures = {"uses": load.uses, "bridges": len(bridges), "stock": (stock.uses, len(stock.errors))}
    record_property("django", figures)
    assert load.errors == []
    assert "AWSPENDING" in bridges
    assert len(stock.errors) >= len(ROTATIONS)


@contextmanager
def closed_at_the_end() -> Iterator[Callable[[Any], Any]]:
    """Other threads' connections, which only those could close otherwise."""
    used: dict[int, Any] = {}

    def use(connection: Any) -> Any:
        return used.setdefault(id(connection), connection)

    yield use
    for connection in used.values():
        connection.inc_thread_sharing()
        connection.close()


def break_(connection: Any) -> None:
    if getattr(connection, "pool", None) is None:
        connection.close()
    else:
        connection.connection.close()
        connection.errors_occurred = True


def serve_stock(account: Rotating, alias: dict[str, Any]) -> None:
    """Django's own backend, for which the password is read anew at each request."""
    secret = account.cache.get(account.secret_id)
    engine = alias["ENGINE"].replace(ENGINES, "django.db.backends")
    told = {"USER": secret["username"], "PASSWORD": secret["password"], "HOST": HOST, "PORT": secret["port"]}
    with databases(site={"ENGINE": engine, "NAME": alias["NAME"], **told}) as connections:
        assert run(connections["site"]) == (1,)
