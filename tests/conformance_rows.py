"""Every integration, in one table: how each logs in once, with what its reader's settings say.

test_conformance.py runs it. A new integration is one more row.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import redis
from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from django_ground import databases
from secretcache import SecretCache, set_default_cache
from secretcache._transport import Call, Failure, Fault, Reply
from secretcache.integrations import asyncpg, celery, psycopg, psycopg_pool, pymysql
from secretcache.integrations import redis as redis_module
from secretcache.integrations.django.settings import redis_options
from servers import need
from support import REGIONS, TOKYO, ScriptedRegions, answer

__all__ = ["MARIADB", "POSTGRES", "RABBITMQ", "REDIS", "ROWS", "Ground", "Row", "Seen"]

POSTGRES, MARIADB, REDIS, RABBITMQ = "postgres", "mariadb", "redis", "rabbitmq"
WHO = "SELECT current_user, current_database()"
WHO_MYSQL = "SELECT substring_index(current_user(), '@', 1), database()"
BRIDGE = {"timeout": 30.0}


class Seen(NamedTuple):
    """As whom, and in which database."""

    user: str
    database: str | None = None


class Ground:
    """A secret of any shape, in two regions, and a cache over them: `show` says which version has which stage."""

    def __init__(self, secret_id: str) -> None:
        self.secret_id = secret_id
        self.versions: dict[str, Any] = {}
        self.stages: dict[str, str] = {}
        self.regions = ScriptedRegions()
        self.regions.replies = dict.fromkeys(REGIONS, self._reply)
        self.cache = SecretCache(list(REGIONS), primary_region=TOKYO, _transport=self.regions)

    @contextmanager
    def as_default(self) -> Iterator[Ground]:
        before = set_default_cache(self.cache)
        try:
            yield self
        finally:
            set_default_cache(before)
            self.cache.close()

    def show(self, **contents: dict[str, Any]) -> None:
        """One new version for each stage; what the cache holds stays until it looks."""
        self.stages = {}
        for stage, content in contents.items():
            version = f"{self.secret_id}-{len(self.versions):02}".ljust(36, "0")
            self.versions[version] = content
            self.stages[stage] = version

    def _reply(self, call: Call) -> Reply:
        version = call.query.version_id or self.stages.get(call.query.stage or "AWSCURRENT")
        if version is None:
            return Failure(Fault.MISSING, "ResourceNotFoundException", "no such stage", answered=True)
        stages = [stage for stage, one in self.stages.items() if one == version]
        content = json.dumps(self.versions[version])
        return answer(call.region, content, self.secret_id, VersionId=version, VersionStages=stages)


LogIn = Callable[[str, dict[str, Any]], Seen]


@dataclass(frozen=True)
class Row:
    """One integration. The process's default cache is the one to use."""

    name: str
    server: str
    log_in: LogIn
    """`log_in(secret_id, told)`: one new login; `told` is what the settings say, by our names."""
    words: dict[str, str] = field(default_factory=dict)
    """Our names to the reader's, for what the settings may say."""
    module: str | None = None
    """A driver that may be missing."""
    hides: bool = False
    """Whether it does not say why no login succeeds: Django's pool raises psycopg_pool's PoolTimeout alone."""

    def __str__(self) -> str:
        return self.name

    def use(self, ground: Ground, told: dict[str, Any] | None = None) -> Seen:
        if self.module is not None:
            need(self.module)
        return self.log_in(ground.secret_id, told or {})


def by(words: dict[str, str], told: dict[str, Any]) -> dict[str, Any]:
    return {words[name]: value for name, value in told.items()}


LIBPQ = {"host": "host", "port": "port", "dbname": "dbname"}
DATABASE = {"host": "host", "port": "port", "dbname": "database"}
DJANGO = {"host": "HOST", "port": "PORT", "dbname": "NAME", "username": "USER"}
URL = {"host": "host", "port": "port", "dbname": "database", "username": "user"}


def with_psycopg(secret_id: str, told: dict[str, Any]) -> Seen:
    with psycopg.connect(secret_id, bridge=BRIDGE, **by(LIBPQ, told)) as connection:
        return Seen(*(connection.execute(WHO).fetchone() or ()))


def with_psycopg_async(secret_id: str, told: dict[str, Any]) -> Seen:
    async def log_in() -> Seen:
        async with await psycopg.aconnect(secret_id, bridge=BRIDGE, **by(LIBPQ, told)) as connection:
            return Seen(*(await (await connection.execute(WHO)).fetchone() or ()))

    return asyncio.run(log_in())


def with_psycopg_pool(secret_id: str, told: dict[str, Any]) -> Seen:
    kwargs = by(LIBPQ, told)
    made = psycopg_pool.ConnectionPool(secret_id, bridge=BRIDGE, kwargs=kwargs, min_size=1, timeout=5.0, open=False)
    with made as pool, pool.connection() as connection:
        return Seen(*(connection.execute(WHO).fetchone() or ()))


def with_asyncpg(secret_id: str, told: dict[str, Any]) -> Seen:
    async def log_in() -> Seen:
        options = by(DATABASE, told)
        connection = await asyncpg.connect(secret_id, bridge=BRIDGE, statement_cache_size=0, **options)
        try:
            return Seen(*await connection.fetchrow(WHO))
        finally:
            await connection.close()

    return asyncio.run(log_in())


def with_asyncpg_pool(secret_id: str, told: dict[str, Any]) -> Seen:
    async def log_in() -> Seen:
        options = {"min_size": 1, "max_size": 1, "statement_cache_size": 0, "bridge": BRIDGE, **by(DATABASE, told)}
        async with asyncpg.create_pool(secret_id, **options) as pool:
            return Seen(*await pool.fetchrow(WHO))

    return asyncio.run(log_in())


def url_of(driver: str, told: dict[str, Any]) -> str:
    """A URL says several hosts behind its question mark."""
    user = f"{told['username']}@" if "username" in told else ""
    several = "," in str(told.get("host", ""))
    port = f":{told['port']}" if "port" in told else ""
    place = "" if several else f"{told.get('host', '')}{port}"
    query = f"?host={told['host']}&port={told['port']}" if several else ""
    return f"{driver}://{user}{place}/{told.get('dbname', '')}{query}"


def with_sqlalchemy(driver: str, who: str) -> LogIn:
    def log_in(secret_id: str, told: dict[str, Any]) -> Seen:
        given = {"plugins": ["secretcache"], "secretcache": secret_id, "secretcache_timeout": 30.0}
        engine = create_engine(url_of(driver, told), poolclass=NullPool, **given)
        with engine.connect() as connection:
            return Seen(*connection.execute(text(who)).one())

    return log_in


def with_async_sqlalchemy(driver: str, who: str) -> LogIn:
    def log_in(secret_id: str, told: dict[str, Any]) -> Seen:
        async def run() -> Seen:
            given = {"plugins": ["secretcache"], "secretcache": secret_id, "secretcache_timeout": 30.0}
            if "asyncpg" in driver:
                given["connect_args"] = {"statement_cache_size": 0, "prepared_statement_name_func": str}
            engine = create_async_engine(url_of(driver, told), poolclass=NullPool, **given)
            async with engine.connect() as connection:
                return Seen(*(await connection.execute(text(who))).one())

        return asyncio.run(run())

    return log_in


def with_django(engine: str, who: str, **options: Any) -> LogIn:
    def log_in(secret_id: str, told: dict[str, Any]) -> Seen:
        alias = {"ENGINE": f"secretcache.integrations.django.{engine}", "SECRET": secret_id, "SECRET_BRIDGE": BRIDGE}
        made = databases(site={**alias, **options, **by(DJANGO, told)})
        with made as connections, connections["site"].cursor() as cursor:
            cursor.execute(who)
            return Seen(*cursor.fetchone())

    return log_in


def with_pymysql(secret_id: str, told: dict[str, Any]) -> Seen:
    with pymysql.connect(secret_id, bridge=BRIDGE, **by(DATABASE, told)) as connection, connection.cursor() as cursor:
        cursor.execute(WHO_MYSQL)
        return Seen(*(cursor.fetchone() or ()))


def with_mysqlclient(secret_id: str, told: dict[str, Any]) -> Seen:
    from secretcache.integrations import mysqlclient  # noqa: PLC0415 - where it is there

    connection: Any = mysqlclient.connect(secret_id, bridge=BRIDGE, **by(DATABASE, told))
    try:
        with connection.cursor() as cursor:
            cursor.execute(WHO_MYSQL)
            return Seen(*cursor.fetchone())
    finally:
        connection.close()


def whoami(client: Any) -> Seen:
    try:
        return Seen(str(client.execute_command("ACL", "WHOAMI").decode()))
    finally:
        client.close()


def with_redis(secret_id: str, told: dict[str, Any]) -> Seen:
    return whoami(redis_module.client(secret_id, bridge=BRIDGE, **told))


def with_redis_async(secret_id: str, told: dict[str, Any]) -> Seen:
    async def log_in() -> Seen:
        client: Any = redis_module.async_client(secret_id, bridge=BRIDGE, **told)
        async with client:
            return Seen((await client.execute_command("ACL", "WHOAMI")).decode())

    return asyncio.run(log_in())


def with_djangos_redis(secret_id: str, told: dict[str, Any]) -> Seen:
    """As Django's cache makes its pool: from LOCATION, and OPTIONS."""
    place = f"{told.get('host', '')}{':' + str(told['port']) if 'port' in told else ''}"
    pool = redis.ConnectionPool.from_url(f"redis://{place}", **redis_options(secret_id, bridge=BRIDGE))
    try:
        return whoami(redis.Redis(connection_pool=pool))
    finally:
        pool.disconnect()


def with_celerys_broker(secret_id: str, told: dict[str, Any]) -> Seen:
    app = celery_app(told)
    celery.follow(app, broker=secret_id, bridge=BRIDGE)
    with app.connection_for_write().clone() as connection:  # as a pool makes its connections
        return Seen(connection.default_channel.client.execute_command("ACL", "WHOAMI").decode())


def with_celerys_results(secret_id: str, told: dict[str, Any]) -> Seen:
    app = celery_app(told)
    celery.follow(app, backend=secret_id, bridge=BRIDGE)
    return whoami(app.backend.client)


def with_celerys_rabbitmq(secret_id: str, told: dict[str, Any]) -> Seen:
    app = celery_app(told, "amqp")
    celery.follow(app, broker=secret_id, bridge=BRIDGE)
    with app.connection_for_write().clone() as connection:  # as a pool makes its connections
        before = connection.userid, connection.password  # a clone's are kombu's guess
        connection.connect()
        assert (connection.userid, connection.password) == before, "the secret's are kept for the login alone"
        (sasl, *_) = connection.connection.authentication
        return Seen(sasl.username)


def celery_app(told: dict[str, Any], scheme: str = "redis") -> Celery:
    url = url_of(scheme, {**told, "dbname": "0"} if scheme == "redis" else told)
    app = Celery("tasks", broker=url, backend=url, set_as_current=False)
    app.conf.broker_connection_retry = False
    return app


PLACE = {"host": "host", "port": "port"}
POOL = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 1, "timeout": 5.0}}}
MYSQLDB = "MySQLdb"

ROWS = [
    Row("psycopg", POSTGRES, with_psycopg, LIBPQ),
    Row("psycopg async", POSTGRES, with_psycopg_async, LIBPQ),
    Row("psycopg_pool", POSTGRES, with_psycopg_pool, LIBPQ),
    Row("asyncpg", POSTGRES, with_asyncpg, DATABASE),
    Row("asyncpg pool", POSTGRES, with_asyncpg_pool, DATABASE),
    Row("sqlalchemy psycopg", POSTGRES, with_sqlalchemy("postgresql+psycopg", WHO), URL),
    Row("sqlalchemy psycopg2", POSTGRES, with_sqlalchemy("postgresql+psycopg2", WHO), URL),
    Row("sqlalchemy asyncpg", POSTGRES, with_async_sqlalchemy("postgresql+asyncpg", WHO), URL),
    Row("django", POSTGRES, with_django("postgresql", WHO), DJANGO),
    Row("django pool", POSTGRES, with_django("postgresql", WHO, **POOL), DJANGO, hides=True),
    Row("pymysql", MARIADB, with_pymysql, DATABASE),
    Row("mysqlclient", MARIADB, with_mysqlclient, DATABASE, MYSQLDB),
    Row("sqlalchemy pymysql", MARIADB, with_sqlalchemy("mysql+pymysql", WHO_MYSQL), URL),
    Row("sqlalchemy mysqldb", MARIADB, with_sqlalchemy("mysql+mysqldb", WHO_MYSQL), URL, MYSQLDB),
    Row("sqlalchemy asyncmy", MARIADB, with_async_sqlalchemy("mysql+asyncmy", WHO_MYSQL), URL),
    Row("django mysql", MARIADB, with_django("mysql", WHO_MYSQL), DJANGO, MYSQLDB),
    Row("redis", REDIS, with_redis, PLACE),
    Row("redis async", REDIS, with_redis_async, PLACE),
    Row("django redis", REDIS, with_djangos_redis, PLACE),
    Row("celery broker", REDIS, with_celerys_broker, PLACE),
    Row("celery results", REDIS, with_celerys_results, PLACE),
    Row("celery rabbitmq", RABBITMQ, with_celerys_rabbitmq, PLACE),
]
