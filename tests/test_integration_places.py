"""A secret without a host: what names a place by other means, and where the message says to write one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from conformance_rows import (
    Ground,
    with_celerys_broker,
    with_celerys_rabbitmq,
    with_celerys_results,
    with_djangos_redis,
)
from secretcache import SecretFormatError
from secretcache.integrations import psycopg
from secretcache.integrations._libpq import names_a_place
from secretcache.integrations._mysql import names_a_place as option_file_names_a_place

SERVICES = "[bare]\ndbname=app\n[placed]\nhost=db.example\n[asked]\nldap://ldap.example/dc=example\n"


@pytest.fixture
def secret() -> Iterator[str]:
    ground = Ground("prod/hostless")
    ground.show(AWSCURRENT={"username": "app", "password": "right", "dbname": "app"})
    with ground.as_default():
        yield ground.secret_id


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "services").write_text(SERVICES)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"host": "a"}, True),
        ({"hostaddr": "127.0.0.1"}, True),
        ({"hostaddr": ""}, False),
        ({"service": "placed"}, True),
        ({"service": "asked"}, True),
        ({"service": "no such"}, True),  # libpq says so
        ({"service": "bare"}, False),
        ({}, False),
    ],
)
@pytest.mark.usefixtures("services")
def test_a_service_without_a_host_is_no_place(*, options: dict[str, str], named: bool) -> None:
    assert names_a_place(options) is named


@pytest.mark.usefixtures("services")
def test_psycopg_with_such_a_service_sends_nothing(secret: str) -> None:
    with pytest.raises(SecretFormatError, match="no key 'host'"):
        psycopg.connect(secret, service="bare")


def test_nor_does_sqlalchemy_with_a_dsn_without_a_host(secret: str) -> None:
    options: dict[str, Any] = {"plugins": ["secretcache"], "secretcache": secret, "connect_args": {"dsn": "dbname=app"}}
    engine = create_engine("postgresql+psycopg2://", poolclass=NullPool, **options)
    with pytest.raises(SecretFormatError, match="no key 'host'"):
        engine.connect()


def test_only_the_group_that_pymysql_reads_counts_in_an_option_file(tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_text("[client]\nhost=db.example\n[app]\nport=1\n")
    assert option_file_names_a_place({"read_default_file": str(path)})
    assert not option_file_names_a_place({"read_default_file": str(path), "read_default_group": "app"})


@pytest.mark.parametrize(
    ("log_in", "where"),
    [
        (with_celerys_broker, "broker_url"),
        (with_celerys_rabbitmq, "broker_url"),
        (with_celerys_results, "result_backend"),
        (with_djangos_redis, "LOCATION"),
    ],
)
def test_the_message_names_the_setting_that_the_reader_writes(
    log_in: Callable[[str, dict[str, Any]], object], where: str, secret: str
) -> None:
    with pytest.raises(Exception, match="no key 'host'") as caught:
        log_in(secret, {})
    assert f"set 'host' in the URL of {where}, or add the key" in str(caught.value)
