"""For the tests of applications: a clock moved by hand, and Secrets Manager in memory that fails and rotates on demand.

from secretcache.testing import FakeSecretsManager

with FakeSecretsManager(["ap-northeast-3", "ap-northeast-1"]) as manager:
    manager.put("prod/db", {"username": "app", "password": "one"})
    cache = manager.cache()
    manager.fail_region("ap-northeast-3", "hang")
    assert cache.get("prod/db").region == "ap-northeast-1"

With pytest the fixtures `secretcache_clock`, `fake_secrets_manager` and `secret_cache` are there by themselves. Recipes
stand in docs/testing.md.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing; pytest imports this in every run
if TYPE_CHECKING:
    from secretcache.testing._clock import ClockError, ManualClock
    from secretcache.testing._fake import FakeSecretsManager
    from secretcache.testing._network import RecordedCall
    from secretcache.testing._rotation import AccountLockedError, FakeDatabase, LoginRefusedError, Rotation, Session

__all__ = [
    "AccountLockedError",
    "ClockError",
    "FakeDatabase",
    "FakeSecretsManager",
    "LoginRefusedError",
    "ManualClock",
    "RecordedCall",
    "Rotation",
    "Session",
]

_ROOMS = {
    "_clock": ("ClockError", "ManualClock"),
    "_fake": ("FakeSecretsManager",),
    "_network": ("RecordedCall",),
    "_rotation": ("AccountLockedError", "FakeDatabase", "LoginRefusedError", "Rotation", "Session"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - not needed by the import itself

    value: object = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
