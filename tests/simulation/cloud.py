"""What is outside the process: Secrets Manager in each region, the databases, and what befalls them.

The primary's history is the truth. A replica shows a state that the primary had, later; a database takes the password
of one version at a time.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from botocore import exceptions as errors

from secretcache._transport import Call, DescribeCall, Failure, Fault
from secretcache._transport._classify import classify
from simulation.machine import Machine, Process
from simulation.primitives import check_no_lock

CANARY = "c4nary"
"""In every value: where it is seen and no value belongs, one has leaked."""
ACCOUNT = "123456789012"
_CODES = {
    "denied": ("AccessDeniedException", "C"),
    "missing": ("ResourceNotFoundException", "C"),
    "deleted": ("InvalidRequestException", "C"),
    "undecipherable": ("DecryptionFailure", "C"),
    "500": ("InternalServiceError", "A"),
    "503": ("ServiceUnavailable", "A"),
    "throttled": ("ThrottlingException", "B"),
    "busy": ("TooManyRequestsException", "B"),
    "expired": ("ExpiredTokenException", "E"),
    "unknown key": ("UnrecognizedClientException", "E"),
    "opt-in": ("OptInRequired", "F"),
}
_FOREIGN = 90_000_000
"""The first version of a secret that has the name only: far from those of the one that is read."""
_ANSWERED = ("fair", "hang", "slow")
REFUSALS = ("denied", "missing", "deleted", "undecipherable")


@dataclass(frozen=True)
class State:
    """What the stages of a secret are attached to, at one moment."""

    current: int
    previous: int | None = None
    pending: int | None = None


@dataclass(eq=False)
class Vault:
    """One secret."""

    name: str
    states: list[State]
    """The primary's, from the first to the one it has now."""
    history: list[int]
    """The versions that AWSCURRENT led to, one after the other."""
    shown: dict[str, int]
    """By region: the number of the state that it shows."""
    accepts: int = 1
    """The version whose password the database takes."""
    rotating: int = 0
    """The version of the rotation that is under way; 0: there is none."""
    suffix: str = "AbCdEf"
    foreign: bool = False
    """Whether it only has the name of one that is read: it was made separately, in another region."""
    refused: dict[str | None, str] = field(default_factory=dict)
    """By region, None for all: how the secret is refused there."""

    @property
    def now(self) -> State:
        return self.states[-1]

    def change(self, **stages: Any) -> None:
        """Moves stages in the primary."""
        state = replace(self.now, **stages)
        if state.current != self.now.current:
            self.history.append(state.current)
        self.states.append(state)

    def arn(self, region: str) -> str:
        return f"arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{self.name}-{self.suffix}"


def version_id(number: int) -> str:
    return f"{number:08d}-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class Answered:
    """An answer that was given: what it said, of when."""

    vault: Vault
    region: str
    version: int
    stages: tuple[str, ...]
    sent: int
    """The number of its request, in the order in which they were begun."""
    sent_at: float
    state: int
    """The number of the primary's state that it showed."""


@dataclass(eq=False)
class Weather:
    """How a region does."""

    kind: str = "fair"
    rate: float = 1.0
    """The part of requests that it befalls."""
    slow: float = 0.0
    """Seconds more for each answer."""
    hint: int = 0
    silence: float = 0.0
    """Seconds that a hanging request hangs."""


@dataclass(frozen=True)
class Sent:
    """A request, as its sender began it."""

    number: int
    at: float
    leg: Any


class Cloud:
    """The regions: the last one is the primary, if the first secret is not another one there."""

    def __init__(
        self, machine: Machine, regions: Sequence[str], names: Sequence[str], random: Random, foreign_in: str = ""
    ) -> None:
        self.machine, self.regions = machine, tuple(regions)
        self.primary = regions[0] if foreign_in == regions[-1] else regions[-1]
        self.foreign_in = foreign_in
        """The region in which the first name is that of another secret; empty: there is none."""
        self.foreign = Vault(names[0], [State(_FOREIGN)], [_FOREIGN], {foreign_in: 0}, suffix="FoReIg", foreign=True)
        self.vaults = {name: Vault(name, [State(1)], [1], dict.fromkeys(regions, 0)) for name in names}
        self.weather = {region: Weather() for region in regions}
        self.answers: dict[str, Answered] = {}
        self.versions = 1
        self.lag = 2.0
        self.arrived: dict[int, float] = {}
        """By the number of a request: when its answer was here."""
        self.sends = 0
        self._random = random

    # What befalls the secrets.

    def publish(self, vault: Vault, lag: float) -> None:
        """Lets the replicas follow, each after its lag."""
        number = len(vault.states) - 1
        vault.shown[self.primary] = number
        for region in self.regions:
            if region == self.primary:
                continue
            self.machine.at(self.machine.time + lag, lambda region=region: self._show(vault, region, number))  # type: ignore[misc]

    @staticmethod
    def _show(vault: Vault, region: str, number: int) -> None:
        vault.shown[region] = max(vault.shown[region], number)

    def new_version(self) -> int:
        self.versions += 1
        return self.versions

    # What a region says.

    def reply(self, call: Any, sent: Sent) -> Mapping[str, Any] | Failure:
        """What the region says at this moment."""
        if isinstance(call, DescribeCall):
            vault = self._vault_in(call.region, call.query.secret.name)
            if vault is None:
                return self.say("missing", call.region, "DescribeSecret")
            primary = call.region if vault.foreign else self.primary
            return {"PrimaryRegion": primary, "ARN": vault.arn(call.region)}
        if isinstance(call, Call):
            return self._single(call.region, call.query, sent)
        singly = [self._single(call.region, query, sent) for query in call.queries]
        return {"SecretValues": [one for one in singly if not isinstance(one, Failure)], "Errors": []}

    def _vault(self, asked: str) -> Vault:
        name = asked if asked in self.vaults else asked.rpartition("-")[0]
        return self.vaults[name]

    def _vault_in(self, region: str, asked: str) -> Vault | None:
        """What that id leads to in that region: a whole ARN to its own secret only."""
        vault = self._vault(asked)
        if vault.name == self.foreign.name and region == self.foreign_in:
            vault = self.foreign
        return vault if asked in (vault.name, f"{vault.name}-{vault.suffix}") else None

    def only_foreign(self, reply: Mapping[str, Any]) -> bool:
        """Whether an answer brings nothing but the secret that only has the name."""
        arns = {one.get("ARN") for one in reply.get("SecretValues", [reply])}
        return bool(self.foreign_in) and arns == {self.foreign.arn(self.foreign_in)}

    def refusal_of(self, vault: Vault, region: str) -> str | None:
        return vault.refused.get(None) or vault.refused.get(region)

    def _single(self, region: str, query: Any, sent: Sent) -> Mapping[str, Any] | Failure:
        vault = self._vault_in(region, query.secret.name)
        refused = self.refusal_of(vault, region) if vault is not None else "missing"
        if vault is None or refused:
            assert refused is not None
            return self.say(refused, region)
        state = vault.states[vault.shown[region]]
        staged = {"AWSCURRENT": state.current, "AWSPREVIOUS": state.previous, "AWSPENDING": state.pending}
        number = staged[query.stage] if query.version_id is None else int(query.version_id[:8])
        stages = tuple(stage for stage, version in staged.items() if version == number)
        if number is None or (query.version_id is not None and not stages):
            return self.say("missing", region)
        key = f"{len(self.answers):07d}"
        self.answers[key] = Answered(vault, region, number, stages, sent.number, sent.at, vault.shown[region])
        return {
            "ARN": vault.arn(region),
            "Name": vault.name,
            "VersionId": version_id(number),
            "VersionStages": list(stages),
            "SecretString": f'{{"password": "{CANARY}-{number}", "username": "app", "host": "db-{vault.name}", '
            f'"key": "{key}"}}',
        }

    def say(self, kind: str, region: str, operation: str = "GetSecretValue", hint: int = 0) -> Failure:
        """A failure, as the transport tells it: judged by the real table, from botocore's own error."""
        endpoint = f"https://secretsmanager.{region}.amazonaws.com"
        return classify(_error(kind, endpoint, region, hint), operation=operation, endpoint=endpoint)


def _error(kind: str, endpoint: str, region: str, hint: int) -> Exception:
    if kind in _CODES:
        headers = {"x-amz-retry-after": str(hint * 1000)} if hint else {}
        told: Any = {
            "Error": {"Code": _CODES[kind][0], "Message": "told so"},
            "ResponseMetadata": {"HTTPHeaders": headers},
        }
        return errors.ClientError(told, "GetSecretValue")
    if kind == "refused":
        return errors.EndpointConnectionError(endpoint_url=endpoint, error=OSError("refused"))
    if kind == "timeout":
        return errors.ReadTimeoutError(endpoint_url=endpoint, error=OSError("timed out"))
    if kind == "sts":
        elsewhere = f"https://sts.{region}.amazonaws.com"
        return errors.EndpointConnectionError(endpoint_url=elsewhere, error=OSError("refused"))
    if kind == "no files":
        return errors.EndpointConnectionError(endpoint_url=endpoint, error=OSError(errno.EMFILE, "too many open files"))
    raise AssertionError(kind)


_KINDS = {code: kind for kind, (code, _) in _CODES.items()}


def kind_of(reply: Any, kind: str) -> str:
    """What a reply was, as it went out; "fair": a value."""
    if isinstance(reply, Failure):
        return _KINDS.get(reply.code, kind)
    return kind if kind == "garbage" else "fair"


def class_of(kind: str) -> str:
    """The row of the decision table that a failure belongs to."""
    own = {"refused": "A", "timeout": "A", "garbage": "A", "sts": "E", "no files": "H"}
    return own.get(kind) or (_CODES[kind][1] if kind in _CODES else "")


def short(call: Any) -> str:
    """A request in a trace."""
    if isinstance(call, Call):
        return f"{call.query.secret} {call.query.stage or ''} {(call.query.version_id or '')[:8]}"
    return type(call).__name__


def short_reply(reply: Any) -> str:
    """An answer in a trace."""
    if isinstance(reply, Failure):
        return f"{reply.fault.name} {reply.code}"
    return f"{reply.get('Name', '')} {str(reply.get('VersionId', ''))[:8]}"


class Wire:
    """A process's way to the cloud: the transport of its cache."""

    def __init__(self, cloud: Cloud, process: Process, random: Random, note: Callable[[Any, Any, str], None]) -> None:
        self._cloud, self._process, self._random = cloud, process, random
        self._machine = cloud.machine
        self._note = note
        self._made: dict[str, int] = {}
        self.generation = 0
        """How often credentials were loaded anew."""
        self.expired: dict[str, int] = {}
        """By region: the generation of credentials that has expired there."""

    def ready(self, region: str) -> bool:
        return self._made.get(region) == self.generation

    def prepare(self, region: str) -> Failure | None:
        self._check(region)
        if self._made.get(region) != self.generation:
            weather, task = self._cloud.weather[region], self._machine.current
            task.outside += 1
            self._machine.sleep(0.06 + 0.04 * self._random.random())
            task.outside -= 1
            if weather.kind == "sts" and self._random.random() < weather.rate:
                failure = self._cloud.say("sts", region)
                self._note(None, failure, "sts")
                return failure
            self._made[region] = self.generation
        return None

    def pending(self, region: str) -> str:
        """There is nothing to wait for."""
        return ""

    def reload(self) -> None:
        self.generation += 1

    def host(self, region: str) -> str:
        return f"secretsmanager.{region}.amazonaws.com"

    def close(self) -> None:
        """Nothing is open."""

    def send(self, call: Any) -> Any:
        self._check(call.region)
        self._check_arn(call)
        task = self._machine.current
        task.outside += 1
        try:
            return self._send(call)
        finally:
            task.outside -= 1

    def _send(self, call: Any) -> Any:
        machine, weather = self._machine, self._cloud.weather[call.region]
        sent = machine.current.sending or Sent(0, machine.time, None)
        kind = weather.kind if weather.kind != "fair" and self._random.random() < weather.rate else "fair"
        if machine.trace is not None:
            machine.note(f"request {sent.number} to {call.region}: {short(call)}, {kind}")
        # What a slow answer says may be of its beginning as well as of its end.
        early = self._cloud.reply(call, sent) if self._random.random() < 0.5 else None
        self._wait(kind, weather)
        if kind == "expired" and self.generation > self.expired.get(call.region, -1):
            kind = "fair"
        reply = early if kind in _ANSWERED and early is not None else self._reply(call, kind, weather, sent)
        machine.sleep(0.004 * self._random.random() if self._random.random() < 0.7 else 0.0)
        machine.note(
            f"request {sent.number} to {call.region} brings {short_reply(reply)}" if machine.trace is not None else ""
        )
        self._cloud.arrived[sent.number] = machine.time
        self._note(sent.leg, reply, kind)
        return reply

    def _reply(self, call: Any, kind: str, weather: Weather, sent: Sent) -> Any:
        if kind in _ANSWERED:
            return self._cloud.reply(call, sent)
        return {} if kind == "garbage" else self._cloud.say(kind, call.region, hint=weather.hint)

    def _wait(self, kind: str, weather: Weather) -> None:
        seconds = 0.004 + 0.02 * self._random.random() + weather.slow * self._random.random()
        seconds += {"timeout": 2.0, "hang": weather.silence}.get(kind, 0.0)
        self._machine.sleep(seconds)

    def _check(self, region: str) -> None:
        machine = self._machine
        check_no_lock(machine, f"asks {region}")
        if machine.current.process is not self._process:
            machine.fail(18, f"process {machine.current.process.pid} uses a client of {self._process.pid}")

    def _check_arn(self, call: Any) -> None:
        if isinstance(call, (Call, DescribeCall)):
            pairs = [(call.query, call.secret_id)]
        else:
            pairs = list(zip(call.queries, call.secret_ids, strict=True))
        for query, text in pairs:
            if (
                query.secret.is_arn
                and text != f"arn:aws:secretsmanager:{call.region}:{ACCOUNT}:secret:{query.secret.name}"
            ):
                self._machine.fail(16, f"{call.region} is asked for {text}")


class RefusedError(Exception):
    """The database does not take this password."""


class Database:
    """Where secrets log in; counts what each process was refused."""

    def __init__(self, machine: Machine, vault: Vault, *, locks: bool) -> None:
        self._machine, self._vault = machine, vault
        self.locks = locks
        """Whether it locks accounts: then what is refused is bounded."""
        self.in_flight: dict[int, int] = {}
        self.refusals: dict[int, list[float]] = {}
        self.refused: set[int] = set()
        """Every version that was refused, ever."""

    def begin(self, pid: int) -> None:
        check_no_lock(self._machine, "logs in")
        self.in_flight[pid] = self.in_flight.get(pid, 0) + 1
        if self.locks and self.in_flight[pid] > 3:
            self._machine.fail(20, f"{self.in_flight[pid]} logins of one process are in flight at {self._vault.name}")

    def judge(self, pid: int, version: int) -> bool:
        """Whether it takes the version's password."""
        machine = self._machine
        took = version == self._vault.accepts
        machine.note(f"login with version {version}: {'accepted' if took else 'refused'}")
        if took:
            self.refusals[pid] = []
            return True
        self.refused.add(version)
        recent = [at for at in self.refusals.get(pid, []) if machine.time - at < 29.0]
        self.refusals[pid] = [*recent, machine.time]
        if self.locks and len(self.refusals[pid]) > 4:
            machine.fail(20, f"{self._vault.name} has refused process {pid} {len(recent) + 1} times in 29 s")
        return False

    def end(self, pid: int) -> None:
        self.in_flight[pid] -= 1


__all__ = [
    "CANARY",
    "REFUSALS",
    "Answered",
    "Cloud",
    "Database",
    "Fault",
    "RefusedError",
    "Sent",
    "State",
    "Vault",
    "Weather",
]
__all__ += ["Wire", "class_of", "kind_of", "version_id"]
