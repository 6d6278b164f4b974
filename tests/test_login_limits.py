"""Which integrations bound logins: those for servers that lock accounts, or may be set to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from secretcache._logins import MAX_REFUSALS
from secretcache.integrations import asyncpg, psycopg, redis
from secretcache.integrations.django.postgresql.base import DatabaseWrapper
from secretcache.integrations.sqlalchemy import _given, _limits, _Settings
from servers import need

UNBOUNDED = {"max_refusals": None, "retry_refused_after": 5.0}
CAREFUL = {"max_refusals": 4, "retry_refused_after": None}


@pytest.mark.parametrize("account_of", [psycopg.account_of, asyncpg._account, redis._account])
def test_postgresql_and_redis_lock_no_accounts(account_of: Callable[..., Any]) -> None:
    assert account_of("prod/db", None, None, None, None).bridge == UNBOUNDED
    assert account_of("prod/db", None, None, None, CAREFUL).bridge == CAREFUL


def test_so_says_django_of_postgresql() -> None:
    assert DatabaseWrapper.bridge == UNBOUNDED


def test_and_not_of_mysql() -> None:
    need("MySQLdb")
    from secretcache.integrations.django.mysql.base import DatabaseWrapper as MySQL  # noqa: PLC0415 - not everywhere

    assert MySQL.bridge == {}


@pytest.mark.parametrize(
    ("url", "given", "limits"),
    [
        ("postgresql+psycopg://h/d", {}, UNBOUNDED),
        ("postgresql+psycopg://h/d", {"max_refusals": 4}, {**UNBOUNDED, "max_refusals": 4}),
        ("mysql+pymysql://h/d", {}, {"max_refusals": MAX_REFUSALS}),
        ("mysql+pymysql://h/d", {"max_refusals": None}, {"max_refusals": None}),
        ("mysql+pymysql://h/d?secretcache_max_refusals=none", {}, {"max_refusals": None}),
        ("mysql+pymysql://h/d?secretcache_max_refusals=3", {}, {"max_refusals": 3}),
    ],
)
def test_sqlalchemy_goes_by_the_server(url: str, given: dict[str, Any], limits: dict[str, Any]) -> None:
    own = {f"secretcache_{name}": value for name, value in given.items()}
    settings = _Settings(**_given(make_url(url), {"secretcache": "prod/db", **own}))
    engine = create_engine(make_url(url.partition("?")[0]))
    assert _limits(settings, engine.dialect) == limits
    engine.dispose()
