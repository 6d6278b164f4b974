"""What the drivers' tests have in common: every rotation under load, beside the stock driver that it makes fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from rotation_load import HALF_FAILED, WHOLE, Load, Rotating
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST
from servers import MariaDB

__all__ = ["Turns", "of_mariadb", "of_postgres", "rotate_under"]

BRIDGES = {WHOLE: "AWSPENDING", HALF_FAILED: "AWSPREVIOUS"}


def rotate_under(
    account: Rotating,
    load: Load,
    stock: Load,
    refused: type[BaseException],
    kinds: tuple[str, ...] = (HALF_FAILED, WHOLE),
) -> None:
    """Rotates in every way while both use their connections: the first sees nothing of it, and the second does.

    Args:
        account: what rotates.
        load: our own.
        stock: the driver's own, which is refused logins, so that the load is known to bite.
        refused: as what the stock driver tells of refused logins.
        kinds: of rotations.
    """
    bridges = account.bridges()
    with _short_pauses(), load, stock:
        for one in (load, stock):
            one.went_on()  # pools are warm
        for kind in kinds:
            account.rotate(kind, cast("Load", _Refresh(account)), load, stock)
    assert [getattr(error, "secretcache_tried", error) for error in load.errors] == []
    assert {BRIDGES[kind] for kind in kinds} == set(bridges), "a window without a login"
    assert {type(error) for error in stock.errors} == {refused}, "this load does not bite"


@contextmanager
def _short_pauses() -> Iterator[None]:
    """The pauses that spare Secrets Manager and the database are cut: what is done between them stays the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secretcache._rotations._SPACING", 0.1)
        patch.setattr("secretcache._bridged._AFTER_VAIN", 0.1)
        patch.setattr("secretcache._connect._FIRST_PAUSE", 0.1)
        patch.setattr("secretcache._connect._LONGEST_PAUSE", 0.3)
        yield


@dataclass
class _Refresh:
    """Stands in the line of the loads: the cache looks in the middle of each rotation, as it may at any time."""

    account: Rotating

    def went_on(self) -> None:
        self.account.cache.refresh(self.account.secret_id)


class Turns:
    """Says yes the first time and every so often: whose connection is closed, so that logins go on in a warm pool."""

    def __init__(self, every: int) -> None:
        self._every, self._asked = every, 0

    def __call__(self) -> bool:
        self._asked += 1  # a turn lost between two threads is no matter
        return self._asked % self._every == 1


@contextmanager
def of_postgres(postgres: EmbeddedPostgres, **options: Any) -> Iterator[Rotating]:
    fields = {"engine": "postgres", "host": HOST, "port": postgres.port, "dbname": postgres.database}
    with Rotating(postgres.create_role, postgres.set_password, options, **fields) as account:
        yield account


@contextmanager
def of_mariadb(mariadb: MariaDB, **options: Any) -> Iterator[Rotating]:
    fields = {"engine": "mariadb", "host": HOST, "port": mariadb.port}
    with Rotating(mariadb.create_user, mariadb.set_password, options, **fields) as account:
        yield account
