"""An account that rotates under load, for the tests of the integrations: real servers, a real cache, scripted regions.

    with Rotating(postgres.create_role, postgres.set_password, host=HOST, port=postgres.port) as account:
        with Load(use) as load, Load(stock_use, workers=2) as stock:
            for kind in KINDS:
                account.rotate(kind, load, stock)
    assert load.errors == [] and stock.errors

Nothing sleeps until something is so: each phase of a rotation lasts until every worker has ended two uses that began in
it, so a slow machine makes it longer and not wrong.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from typing_extensions import Self

from secretcache import SecretCache
from secretcache._transport import Call, Failure, Fault, Reply
from servers import fresh_user
from support import OSAKA, REGIONS, TOKYO, ScriptedRegions, answer

__all__ = ["HALF_FAILED", "KINDS", "WHOLE", "Load", "Rotating"]

WHOLE, HALF_FAILED = "whole", "half failed"
KINDS = (WHOLE, HALF_FAILED, WHOLE)
"""Rotations in which AWSPENDING is the one that works for a while, and AWSPREVIOUS, and AWSPENDING again."""
PATIENCE = 60.0  # real seconds: only a test that fails waits so long
PAUSE = 0.01  # between two uses of a worker


class Rotating:
    """One user of one server, its secret in two regions, and a cache over them that prefers the replica.

    Args:
        create: `create(user, password)` makes the user.
        set_password: `set_password(user, password)` changes its password.
        options: of the cache.
        fields: more keys of the secret: host, port, dbname, engine.
    """

    def __init__(
        self,
        create: Callable[[str, str], None],
        set_password: Callable[[str, str], None],
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        self.user = fresh_user()
        self.secret_id = f"prod/{self.user}"
        self.fields = {"username": self.user, **fields}
        self.regions = ScriptedRegions()
        self.regions.replies = dict.fromkeys(REGIONS, self._reply)
        self.shown: dict[str, dict[str, str]] = {}
        self.passwords: dict[str, str] = {}
        self._set_password = set_password
        self.version = self._new()
        """The version that AWSCURRENT has in the primary, or had until the rotation that is under way."""
        create(self.user, self.passwords[self.version])
        self._show(REGIONS, AWSCURRENT=self.version)
        options = {"primary_region": TOKYO, **(options or {})}
        self.cache = SecretCache(list(REGIONS), _transport=self.regions, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cache.close()

    def rotate(self, kind: str = WHOLE, *loads: Load) -> None:
        """One rotation, with a window in which AWSCURRENT is wrong, then a replica that lags. The loads run on.

        Ends when the cache has the new version, and no use that began before that is under way.
        """
        old, new = self.version, self._new()
        if kind == WHOLE:
            self._show(REGIONS, AWSCURRENT=old, AWSPENDING=new)
            self.change_password(new)
        else:
            self._show(REGIONS, AWSCURRENT=new, AWSPREVIOUS=old)
            self.cache.refresh(self.secret_id)
        _all_went_on(loads)
        if kind != WHOLE:
            self.change_password(new)
        self._show((TOKYO,), AWSCURRENT=new, AWSPREVIOUS=old)
        self.version = new
        _all_went_on(loads)
        self._show((OSAKA,), AWSCURRENT=new, AWSPREVIOUS=old)
        self.cache.refresh(self.secret_id)
        assert self.held() == new
        _all_went_on(loads)

    def change_password(self, version: str) -> None:
        """The server takes that version's password, and no other."""
        self._set_password(self.user, self.passwords[version])

    def held(self) -> str | None:
        """AWSCURRENT, as the cache knows it."""
        return self.cache._held_version(self.secret_id)

    def bridges(self) -> list[str]:
        """From now on: the stages that bridged a login."""
        stages: list[str] = []
        self.cache.add_event_hook(lambda event: stages.append(event.detail) if event.name == "bridged" else None)
        return stages

    def _show(self, regions: tuple[str, ...], **stages: str) -> None:
        for region in regions:
            self.shown[region] = stages

    def _new(self) -> str:
        version = f"{self.user}-{len(self.passwords) + 1:02}".ljust(36, "0")
        self.passwords[version] = f"p@:/%{secrets.token_hex(12)}"  # what a URL would have to quote
        return version

    def _reply(self, call: Call) -> Reply:
        stages = self.shown[call.region]
        version = call.query.version_id or stages.get(call.query.stage or "AWSCURRENT")
        if version is None:
            return Failure(Fault.MISSING, "ResourceNotFoundException", "no such stage", answered=True)
        content = json.dumps({**self.fields, "password": self.passwords[version]})
        of_version = [stage for stage, one in stages.items() if one == version]
        return answer(call.region, content, self.secret_id, VersionId=version, VersionStages=of_version)


class Load:
    """Workers that use connections all the time, one way, and what came of it: a context, running inside of it.

    Args:
        use: one use of one connection. A coroutine function: the workers are tasks of one event loop in a thread.
        workers: how many at once. More than a pool keeps, and logins go on all the time.
        ended: for a coroutine function, awaited in its event loop at the end: to close pools.
    """

    def __init__(self, use: Callable[[], Any], workers: int = 4, ended: Callable[[], Any] | None = None) -> None:
        self.errors: list[BaseException] = []
        self._use, self._ended = use, ended
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._uses = [0] * workers
        self._threads = self._asyncio() if inspect.iscoroutinefunction(use) else self._plain()

    def _plain(self) -> list[threading.Thread]:
        return [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(len(self._uses))]

    def _asyncio(self) -> list[threading.Thread]:
        return [threading.Thread(target=lambda: asyncio.run(self._work_all()), daemon=True)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), "a worker does not end"

    @property
    def uses(self) -> int:
        """How many have ended."""
        return sum(self._uses)

    def went_on(self, uses: int = 2) -> None:
        """Returns when every worker has ended that many more uses: none that began before this call is under way."""
        with self._changed:
            wanted = [done + uses for done in self._uses]
            assert self._changed.wait_for(
                lambda: all(done >= one for done, one in zip(self._uses, wanted, strict=True)), PATIENCE
            ), f"{self._uses} uses instead of {wanted}"

    def _work(self, number: int) -> None:
        while not self._stop.wait(PAUSE):
            try:
                self._use()
            except Exception as error:  # noqa: BLE001 - each is counted
                self._failed(error)
            self._done(number)

    async def _work_all(self) -> None:
        try:
            await asyncio.gather(*(self._awork(number) for number in range(len(self._uses))))
        finally:
            if self._ended is not None:
                await self._ended()

    async def _awork(self, number: int) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(PAUSE)
            try:
                await self._use()
            except Exception as error:  # noqa: BLE001 - each is counted
                self._failed(error)
            self._done(number)

    def _failed(self, error: BaseException) -> None:
        with self._changed:
            self.errors.append(error)

    def _done(self, number: int) -> None:
        with self._changed:
            self._uses[number] += 1
            self._changed.notify_all()


def _all_went_on(loads: tuple[Load, ...]) -> None:
    for load in loads:
        load.went_on()
