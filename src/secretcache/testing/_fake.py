"""`FakeSecretsManager`: Secrets Manager of several regions, in memory, that fails and rotates when a test says so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from secretcache._cache import SecretCache
from secretcache._errors import ConfigurationError
from secretcache._ids import CURRENT
from secretcache._settings import check_count, check_duration, check_regions
from secretcache.testing._clock import ManualClock
from secretcache.testing._faults import FAULTS, Fault
from secretcache.testing._network import FakeTransport, Network
from secretcache.testing._rotation import STEPS, Rotation, as_object
from secretcache.testing._service import PREVIOUS, Service, Shown, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from types_boto3_secretsmanager import SecretsManagerClient
    from typing_extensions import Self

    from secretcache.testing._client import FakeSession
    from secretcache.testing._faults import How
    from secretcache.testing._network import RecordedCall
    from secretcache.testing._rotation import Step

__all__ = ["FakeSecretsManager"]

_REGIONS = ("ap-northeast-3", "ap-northeast-1")


class FakeSecretsManager:
    """Secrets Manager in several regions, in memory: no network, no AWS account, no sleeping.

    What a test does to it has happened when the call returns, and before each such call, and before `calls` is read,
    whatever caches on its clock were doing has come to rest (in a test that is a task: `await clock.asettle()` first).

    Args:
        regions: region names, in the order in which `cache()` asks them.
        primary_region: where secrets are written, and what the others replicate from; the last region unless told
            otherwise, as in "the Osaka replica first, then the Tokyo primary".
        clock: the clock that lag, timeouts and caches go by; a new one unless told otherwise.
        account: the account in the ARNs, twelve digits.

    Raises:
        ConfigurationError: an argument is not sound; the message names it. So do all methods.
    """

    def __init__(
        self,
        regions: Sequence[str] = _REGIONS,
        *,
        primary_region: str | None = None,
        clock: ManualClock | None = None,
        account: str = "123456789012",
    ) -> None:
        if clock is not None and not isinstance(clock, ManualClock):
            raise ConfigurationError(f"clock must be a ManualClock, got {type(clock).__name__}")
        if not isinstance(account, str) or len(account) != 12 or not account.isdigit():  # noqa: PLR2004 - AWS's
            raise ConfigurationError(f"account must be a text of twelve digits, got {account!r}")
        self.regions = check_regions(regions)
        self.clock = clock or ManualClock()
        self.primary_region = self._listed("primary_region", primary_region or self.regions[-1])
        self._service = Service(self.regions, account, self.clock.now)
        self._network = Network(self._service, self.clock)
        self._caches: list[SecretCache] = []
        self._databases: list[tuple[str, Callable[[str | bytes], None]]] = []
        self._rotated = 0

    # What an application is given.

    def cache(self, **options: Any) -> SecretCache:
        """A `SecretCache` over these regions, on this clock. `close()` of the fake closes it too.

        Args:
            **options: as `SecretCache`: `ttl`, `max_stale`, `timeout`, `refresh`, `primary_region`, ...
        """
        regions = options.pop("regions", self.regions)
        for region in check_regions(regions):
            self._listed("regions: each", region)
        options.setdefault("session_factory", self.session)
        transport = FakeTransport(self._network)
        cache = SecretCache(list(regions), _runtime=self.clock.runtime, _transport=transport, **options)
        self._caches.append(cache)
        return cache

    def client(self, region: str | None = None) -> SecretsManagerClient:
        """A boto client of one region, the primary one unless told otherwise, answered by this fake.

        It is botocore's own, with its checks, exceptions and paginators; only what it would send goes nowhere else.
        """
        made: SecretsManagerClient = self.session(region or self.primary_region).client("secretsmanager")
        return made

    def session(self, region: str) -> FakeSession:
        """In place of a boto3 session: for code that makes its own client, and as `session_factory`."""
        from secretcache.testing._client import FakeSession  # noqa: PLC0415 - imports botocore

        return FakeSession(self._network, self._listed("region", region))

    # What a test does.

    def put(self, name: str, value: str | bytes | Mapping[str, Any], *, regions: Sequence[str] | None = None) -> str:
        """A secret's value from now on, as AWSCURRENT; makes the secret if it is not there. Returns the version id.

        Args:
            name: the secret's name.
            value: text, bytes, or a mapping, which is stored as JSON.
            regions: where a new secret is replicated to; all regions unless told otherwise.
        """
        content = _content(value)
        if not isinstance(name, str) or not name or name.startswith("arn:"):
            raise ConfigurationError(f"name must be the name of a secret, got {name!r}")
        if regions is not None:
            regions = [self._listed("regions: each", region) for region in regions]
        self.clock.quietly_settle()
        with self._network.lock:
            stored = self._service.secrets.get(name)
            is_new = stored is None
            if stored is None:
                others = self.regions if regions is None else regions
                stored = self._service.create(name, self.primary_region, others)
            version = self._service.version(content)
            self._write(stored, stored.shown.with_version(version).moved(CURRENT, version.id))
            if is_new:  # there is no time before a secret was made
                self._service.replicate(stored, list(stored.replicas))
            return version.id

    def rotate(
        self, name: str, value: str | bytes | Mapping[str, Any] | None = None, *, until: Step = "finish"
    ) -> Rotation:
        """Rotates a secret: at once, or up to a step, from which the returned rotation goes on.

        Args:
            name: the secret's name.
            value: the new value. Without it: the old one with another `password`, if it is a JSON object that has one.
            until: `"create"`: AWSPENDING is there; `"set"`: the database has the new password; `"test"`; `"finish"`:
                AWSCURRENT has moved.
        """
        stored = self._stored(name)
        content = self._next_content(stored) if value is None else _content(value)
        if until not in STEPS:
            raise ConfigurationError(f"until must be one of {', '.join(STEPS)}, got {until!r}")
        self.clock.quietly_settle()
        return Rotation(self, stored, self._service.version(content)).until(until)

    def rollback(self, name: str) -> str:
        """AWSCURRENT goes back to the version before it; returns that version's id."""
        stored = self._stored(name)
        before = stored.shown.stages.get(PREVIOUS)
        if before is None:
            raise ConfigurationError(f"name: secret {name!r} has no AWSPREVIOUS to go back to")
        self.clock.quietly_settle()
        self._write(stored, stored.shown.moved(CURRENT, before))
        return before

    def lag(self, region: str, seconds: float) -> None:
        """What is written from now on shows in a replica's region so many seconds later.

        `math.inf`: not before `replicate`.
        """
        self._listed("region", region)
        if region == self.primary_region:
            raise ConfigurationError(
                f"region must be one that can lag behind the primary, and {region} is the primary: "
                "the last of FakeSecretsManager's regions, or its primary_region"
            )
        if seconds != float("inf"):
            check_duration("seconds", seconds)
        self.clock.quietly_settle()
        self._service.lags[region] = float(seconds)

    def replicate(self, name: str, *regions: str) -> None:
        """Regions show now what the primary shows, whatever their lag; without any: those that have the secret.

        A region that does not have the secret gets it.
        """
        stored = self._stored(name)
        there = [self._listed("regions: each", region) for region in regions] or list(stored.replicas)
        self.clock.quietly_settle()
        with self._network.lock:
            self._service.replicate(stored, [region for region in there if region != stored.primary])

    def delete(self, name: str, *, region: str | None = None, forever: bool = False) -> None:
        """Marks a secret for deletion; `restore` takes that back. The replicas follow after their lag.

        Args:
            name: the secret's name.
            region: takes away that region's replica instead, as a replication that fails does.
            forever: deletes it for good, everywhere and at once. One made again is another secret: its ARN differs.
        """
        stored = self._stored(name)
        if region is not None and self._listed("region", region) == stored.primary:
            raise ConfigurationError(f"region: {region} is the primary of {name!r}; only a replica can be taken away")
        self.clock.quietly_settle()
        with self._network.lock:
            if region is not None:
                stored.replicas.pop(region, None)
            elif forever:
                del self._service.secrets[name]
            else:
                self._write(stored, replace(stored.shown, deleted=True))

    def restore(self, name: str) -> None:
        """Takes a deletion back."""
        stored = self._stored(name)
        self.clock.quietly_settle()
        self._write(stored, replace(stored.shown, deleted=False))

    def deny(self, name: str, *, region: str | None = None) -> None:
        """Refuses the secret's value (AccessDeniedException): in one region, or in all of them."""
        self._stored(name)
        self.clock.quietly_settle()
        self._service.denied |= {(one, name) for one in self._one_or_all(region)}

    def allow(self, name: str, *, region: str | None = None) -> None:
        """Takes `deny` back."""
        self.clock.quietly_settle()
        self._service.denied -= {(one, name) for one in self._one_or_all(region)}

    def fail_region(
        self, region: str, how: How = "refused", *, seconds: float | None = None, times: int | None = None
    ) -> None:
        """From now on a region fails, until `heal`.

        `"refused"`, `"reset"`: the connection is, at once. `"unreachable"`: it is not made, for 1 s. `"hang"`: no
        answer, for 2 s (a plain client: 60 s). `"stuck"`: the answer drips for ever. `"slow"`: it comes after
        `seconds`. `"error"`, `"unavailable"`: 5xx. `"garbage"`: 200 with no body. `"throttled"`, `"denied"`,
        `"expired-credentials"`, `"unknown-key"`, `"not-enabled"`: the service says so to every request.

        Args:
            region: which.
            how: in which way; see above.
            seconds: until a request hears of it, on the clock; required for `"slow"`.
            times: how many requests fail; all of them unless told otherwise.
        """
        self._listed("region", region)
        if how not in FAULTS:
            raise ConfigurationError(f"how must be one of {', '.join(FAULTS)}, got {how!r}")
        if (how == "slow") != (seconds is not None) and how in ("slow", "stuck"):
            raise ConfigurationError(f"seconds: how={how!r} {'needs' if how == 'slow' else 'takes no'} seconds")
        wait = None if seconds is None else check_duration("seconds", seconds)
        left = None if times is None else check_count("times", times)
        self.clock.quietly_settle()
        self._network.fail(region, Fault(how, wait, left))

    def heal(self, region: str | None = None) -> None:
        """A region answers again; without one: all of them. Neither lag nor `deny` is touched."""
        regions = self._one_or_all(region)
        self.clock.quietly_settle()
        for one in regions:
            self._network.heal(one)

    # What a test looks at.

    @property
    def calls(self) -> tuple[RecordedCall, ...]:
        """Every request since the beginning, or since `forget_calls`, whatever came of it."""
        self.clock.quietly_settle()
        return tuple(self._network.calls)

    def forget_calls(self) -> None:
        """Begins the record anew."""
        self.clock.quietly_settle()
        self._network.calls.clear()

    def arn(self, name: str, region: str | None = None) -> str:
        """The secret's ARN in a region, the primary one unless told otherwise."""
        stored = self._stored(name)
        return self._service.arn(stored, self._listed("region", region or stored.primary))

    def version_id(self, name: str, stage: str = CURRENT) -> str | None:
        """The version that a stage is on in the primary region; None: on none."""
        return self._stored(name).shown.stages.get(stage)

    def close(self) -> None:
        """Closes the caches that were made here, and cuts off what is stuck."""
        for cache in self._caches:
            cache.close()
        for region in self.regions:
            self._network.heal(region)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FakeSecretsManager regions={list(self.regions)} secrets={sorted(self._service.secrets)}>"

    # What its parts use.

    def _write(self, stored: Stored, shown: Shown) -> None:
        with self._network.lock:
            self._service.write(stored, shown)

    def _follow(self, name: str, set_password: Callable[[str | bytes], None]) -> str | bytes:
        shown = self._stored(name, "secret_id").shown
        self._databases.append((name, set_password))
        return shown.versions[shown.stages[CURRENT]].content

    def _set_in_databases(self, name: str, content: str | bytes) -> None:
        for secret, set_password in self._databases:
            if secret == name:
                set_password(content)

    def _stored(self, name: object, argument: str = "name") -> Stored:
        stored = self._service.secrets.get(name) if isinstance(name, str) else None
        if stored is None:
            known = ", ".join(sorted(self._service.secrets)) or "none"
            raise ConfigurationError(f"{argument}: there is no secret {name!r}; put() makes one. There are: {known}")
        return stored

    def _next_content(self, stored: Stored) -> str:
        held = stored.shown.versions[stored.shown.stages[CURRENT]].content
        parsed = as_object(held)
        if parsed is None or "password" not in parsed:
            raise ConfigurationError(f"value: {stored.name!r} is no JSON object with a password: pass the new value")
        self._rotated += 1
        return json.dumps({**parsed, "password": f"rotated-{self._rotated}"})

    def _listed(self, argument: str, region: object) -> str:
        if isinstance(region, str) and region in self.regions:
            return region
        raise ConfigurationError(f"{argument} must be one of regions={list(self.regions)}, got {region!r}")

    def _one_or_all(self, region: str | None) -> tuple[str, ...]:
        return self.regions if region is None else (self._listed("region", region),)


def _content(value: object) -> str | bytes:
    if isinstance(value, (str, bytes)):
        return value
    try:
        if hasattr(value, "keys"):
            return json.dumps(dict(value))  # type: ignore[call-overload]
    except TypeError:
        pass  # raised below: json's own message would quote the value
    raise ConfigurationError(f"value must be text, bytes or a mapping that JSON can hold, got {type(value).__name__}")
