"""PyMySQL and mysqlclient against a real MariaDB: rotations under load, held connections, refused logins."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from driver_rotation import of_mariadb, rotate_under
from rotation_load import HALF_FAILED, WHOLE, Load, Rotating
from secretcache import ConfigurationError
from servers import MariaDB, need

MODULES = {"pymysql": "pymysql", "mysqlclient": "MySQLdb"}
QUICK = {"timeout": 1.0, "max_refusals": 3}


class Driver:
    """One of the two: what one does with either is the same."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stock: Any = import_module(MODULES[name])
        self.ours: Any = import_module(f"secretcache.integrations.{name}")
        self.kinds = (HALF_FAILED, WHOLE) if name == "pymysql" else (WHOLE,)
        # PyMySQL loads every CA of the machine for each login with TLS.
        self.plain: dict[str, Any] = {"ssl_disabled": True} if name == "pymysql" else {}

    def connect(self, account: Rotating, **options: Any) -> Any:
        return self.ours.connect(account.secret_id, cache=account.cache, **self.plain, **options)

    def stock_connect(self, account: Rotating) -> Any:
        """AWSCURRENT alone, fresh for each login: what one writes without the bridge."""
        secret = account.cache.get(account.secret_id)
        names = {"host": "host", "port": "port", "user": "username", "password": "password"}
        return self.stock.connect(**self.plain, **{name: secret[key] for name, key in names.items()})


def works(connection: Any) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


@pytest.fixture(params=MODULES)
def driver(request: pytest.FixtureRequest) -> Driver:
    need(MODULES[request.param])
    return Driver(request.param)


def test_connect_outlives_rotations(mariadb: MariaDB, driver: Driver) -> None:
    with of_mariadb(mariadb) as account:
        held = driver.connect(account)

        def use() -> None:
            connection = driver.connect(account)
            assert works(connection)
            connection.close()

        stock = Load(lambda: driver.stock_connect(account).close(), workers=1)
        rotate_under(account, Load(use, workers=2), stock, driver.stock.OperationalError, driver.kinds)
        assert works(held), "a held connection is undisturbed"
        held.close()


def test_a_refusal_is_the_drivers_own(mariadb: MariaDB, driver: Driver) -> None:
    with of_mariadb(mariadb) as account:
        password = account.passwords[account.version]
        mariadb.set_password(account.user, "another")
        with pytest.raises(driver.stock.OperationalError) as caught:
            driver.connect(account, bridge=QUICK)
        assert caught.value.args[0] == 1045
        assert account.version in getattr(caught.value, "secretcache_tried", "")
        assert password not in repr(caught.value)
        assert mariadb.refused_logins(account.user) == 1, "the version that was refused is not tried again"


def test_a_locked_account_is_not_tried_with_other_versions(mariadb: MariaDB, driver: Driver) -> None:
    with of_mariadb(mariadb) as account:
        mariadb.lock(account.user)
        with pytest.raises(driver.stock.OperationalError) as caught:
            driver.connect(account)
        assert caught.value.args[0] == 4151
        assert len(account.regions.calls) == 1


def test_what_options_say_wins_over_the_secret(mariadb: MariaDB, driver: Driver) -> None:
    with of_mariadb(mariadb) as account:
        account.fields |= {"host": "nowhere.invalid", "dbname": "no_such"}
        connection = driver.connect(account, host="127.0.0.1", db="information_schema", charset="utf8mb4")
        with connection.cursor() as cursor:
            cursor.execute("SELECT database()")
            assert cursor.fetchone() == ("information_schema",)
        connection.close()


@pytest.mark.parametrize("name", ["user", "password", "passwd"])
def test_the_account_is_the_secrets_alone(mariadb: MariaDB, driver: Driver, name: str) -> None:
    with of_mariadb(mariadb) as account, pytest.raises(ConfigurationError, match=f"{name} must not be given"):
        driver.connect(account, **{name: "mine"})
