"""What happens before a request: clients that cannot be made, credentials that are slow, silent or wrong."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.session import Session

from local_aws import LocalAws
from secretcache import ConfigurationError, CredentialsError, Event, SecretCache
from secretcache._ids import Query, SecretId
from secretcache._settings import Settings
from secretcache._transport import Call, Failure, Fault, _credentials
from secretcache._transport._botocore import BotocoreTransport
from support import OSAKA, PATIENCE, REGIONS, TOKYO, InThread
from test_configuration import Machine

QUERY = Query(SecretId("prod/db"))


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with LocalAws() as local:
        yield local


# A client that cannot be made


def test_a_region_whose_client_cannot_be_made_is_parked_and_told(machine: Machine, aws: LocalAws) -> None:
    made: list[str] = []

    def factory(region: str) -> Session:
        made.append(region)
        session = Session()
        session.set_credentials("KEY", "s")
        if region == OSAKA:
            session.set_default_client_config(Config(use_fips_endpoint=True))
        return session

    events: list[Event] = []
    with SecretCache(list(REGIONS), session_factory=factory, endpoint_urls={TOKYO: aws.url()}) as cache:
        cache.add_event_hook(events.append)
        for number in range(5):
            assert cache.get(f"secret/{number}").region == TOKYO
        health = cache.region_health()[OSAKA]
        assert made == [OSAKA, TOKYO]
        assert 590 < health.parked_seconds <= 600
        assert (health.last_error, health.outcomes) == ("NoFipsEndpoint", {"not_offered": 1})
        assert (health.calls, health.state) == (0, "closed"), "no request was sent"
        told = [(one.name, one.region, one.outcome) for one in events if one.name == "not_offered"]
        assert told == [("not_offered", OSAKA, "NoFipsEndpoint")]


def test_an_unknown_profile_is_an_identity_that_failed(machine: Machine) -> None:
    machine.set("AWS_PROFILE", "nobody")
    with SecretCache([OSAKA]) as cache:
        with pytest.raises(CredentialsError, match=r"ProfileNotFound: .*nobody"):
            cache.get("x")
        health = cache.region_health()[OSAKA]
        assert health.identity_seconds > 0
        assert (health.last_error, health.outcomes["identity"] >= 1) == ("ProfileNotFound", True)


@pytest.mark.parametrize("region", ["fips-us-east-1", "us-east-1-fips"])
def test_what_names_a_fips_host_is_no_region(region: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{region}.*list 'us-east-1'.*use_fips_endpoint"):
        SecretCache([region])


# Credentials that are slow


def process(machine: Machine, script: str) -> None:
    (machine.folder / "vault.py").write_text(script)
    machine.config(f"[default]\ncredential_process = {shlex.quote(sys.executable)} {machine.folder / 'vault.py'}\n")


def answer_of(machine: Machine, **extra: Any) -> str:
    keys = {"Version": 1, "AccessKeyId": "PROCESS", "SecretAccessKey": "s", **extra}
    return f"print({json.dumps(keys)!r})"


def test_a_slow_credential_process_is_waited_for_until_the_readers_deadline(machine: Machine, aws: LocalAws) -> None:
    begun, gate = machine.folder / "begun", machine.folder / "gate"
    for pipe in (begun, gate):
        os.mkfifo(pipe)
    process(machine, f"open({str(begun)!r}, 'w').close(); open({str(gate)!r}).close()\n" + answer_of(machine))
    with SecretCache([OSAKA], endpoint_urls={OSAKA: aws.url()}) as cache:
        reader = InThread(lambda: cache.get("x", timeout=PATIENCE))
        begun.open().close()  # returns when the process is there
        with pytest.raises(CredentialsError) as caught:
            cache.get("x", timeout=0.05)
        program = Path(sys.executable).name
        assert f"credentials still loading (credential_process {program}), for " in str(caught.value)
        assert "longer timeout" in str(caught.value)
        assert "network" not in str(caught.value)
        gate.open("w").close()
        assert reader.result().string == "PROCESS"
        assert cache.region_health()[OSAKA].state == "closed"


@pytest.mark.parametrize("regions", [(OSAKA,), REGIONS])
def test_the_time_that_a_client_may_take_is_the_readers_where_no_region_is_left(regions: tuple[str, ...]) -> None:
    from secretcache._regions.board import Board  # noqa: PLC0415
    from secretcache._regions.policy import RegionPolicy  # noqa: PLC0415
    from secretcache._regions.route import Purpose, Route  # noqa: PLC0415

    board = Board(regions, RegionPolicy(), lambda: 0.0, lambda: 0.0)
    route = Route(regions, board, QUERY, Purpose.COLD, 0.0, 30.0, 30.0)
    legs = []
    for now in (0.0, 2.5):
        leg = route.due(now)
        if leg is not None:
            leg.taken_at = now
            legs.append(leg)
    assert [leg.making_cap for leg in legs] == ([30.0] if len(regions) == 1 else [2.5, 27.5])


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("print('hello')", r"credential_process \S+: its answer is not JSON"),
        ("import sys; sys.exit(3)", r"custom-process"),
    ],
)
def test_what_a_process_says_wrong_is_told_of_the_credentials(machine: Machine, script: str, message: str) -> None:
    process(machine, script)
    with SecretCache([OSAKA], endpoint_urls={OSAKA: "http://127.0.0.1:9"}) as cache:
        with pytest.raises(CredentialsError, match=message):
            cache.get("x")
        assert cache.region_health()[OSAKA].identity_seconds > 0


def test_an_expired_answer_is_botocores_own_sentence(machine: Machine) -> None:
    process(machine, answer_of(machine, SessionToken="t", Expiration="2001-01-01T00:00:00Z"))
    with (
        SecretCache([OSAKA], endpoint_urls={OSAKA: "http://127.0.0.1:9"}) as cache,
        pytest.raises(CredentialsError, match=r"refreshed credentials are still expired"),
    ):
        cache.get("x")


# Credentials that are renewed


class Vault:
    """A provider whose renewals the test answers."""

    def __init__(self, seconds: float) -> None:
        self.asked, self.go_on = threading.Semaphore(0), threading.Event()
        self.calls = 0
        soon = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        self.credentials = RefreshableCredentials("OLD", "s", "t", soon, self.renew, "vault")

    def renew(self) -> dict[str, str]:
        self.calls += 1
        self.asked.release()
        assert self.go_on.wait(PATIENCE)
        until = datetime.now(timezone.utc) + timedelta(hours=1)
        return {"access_key": "NEW", "secret_key": "s", "token": "t", "expiry_time": until.isoformat()}

    def session(self, _: str) -> Session:
        session = Session()
        session._credentials = self.credentials  # type: ignore[attr-defined]
        return session


@contextmanager
def transport(aws: LocalAws, factory: Callable[[str], Session]) -> Iterator[BotocoreTransport]:
    made = BotocoreTransport(Settings(regions=(OSAKA,), endpoint_urls={OSAKA: aws.url()}, session_factory=factory))
    try:
        yield made
    finally:
        made.close()


def key_of(sends: BotocoreTransport) -> str:
    assert sends.prepare(OSAKA) is None
    reply = sends.send(Call(OSAKA, QUERY))
    assert not isinstance(reply, Failure), reply
    return str(reply["SecretString"])


@pytest.mark.parametrize("seconds", [800, 300])  # botocore's advisory and its mandatory window
def test_requests_are_signed_with_what_is_held_while_one_thread_renews(aws: LocalAws, seconds: float) -> None:
    vault = Vault(seconds)
    with transport(aws, vault.session) as sends:
        assert [key_of(sends) for _ in range(5)] == ["OLD"] * 5, "a silent provider keeps nobody waiting"
        assert vault.asked.acquire(timeout=PATIENCE)
        assert vault.calls == 1
        vault.go_on.set()
        renewing = [one for one in threading.enumerate() if one.name == "secretcache-credentials"]
        for thread in renewing:
            thread.join(PATIENCE)
        assert key_of(sends) == "NEW"
        assert vault.calls == 1


def test_credentials_that_are_about_to_expire_are_waited_for(aws: LocalAws) -> None:
    vault = Vault(_credentials.SURE_SECONDS / 2)
    with SecretCache(
        [OSAKA], endpoint_urls={OSAKA: aws.url()}, session_factory=vault.session, timeout=PATIENCE
    ) as cache:
        reader = InThread(lambda: cache.get("x"))
        assert vault.asked.acquire(timeout=PATIENCE)
        with pytest.raises(CredentialsError, match=r"credentials still loading \(vault\), for \d"):
            cache.get("x", timeout=0.05)
        vault.go_on.set()
        assert reader.result().string == "NEW"
        assert vault.calls == 1


def test_a_renewal_that_fails_is_tried_again_later_and_harms_no_request(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(300)
    failed = threading.Semaphore(0)

    def renew() -> dict[str, str]:
        failed.release()
        raise OSError("STS is down")

    vault.credentials._refresh_using = renew  # type: ignore[attr-defined]
    with transport(aws, vault.session) as sends:
        assert [key_of(sends) for _ in range(3)] == ["OLD"] * 3
        assert failed.acquire(timeout=PATIENCE)
        assert not failed.acquire(blocking=False), "at most one attempt in ten seconds"
        monkeypatch.setattr(_credentials, "RENEWAL_PAUSE", 0.0)
        client: Any = sends._ready[OSAKA]
        client._held._renew_at = float("-inf")
        for thread in [one for one in threading.enumerate() if one.name == "secretcache-credentials"]:
            thread.join(PATIENCE)
        assert key_of(sends) == "OLD"
        assert failed.acquire(timeout=PATIENCE)


def test_the_users_own_clients_of_the_session_sign_as_before(aws: LocalAws) -> None:
    vault = Vault(300)
    session = vault.session(OSAKA)
    own = session.create_client("secretsmanager", region_name=OSAKA)
    with transport(aws, lambda _: session) as sends:
        assert key_of(sends) == "OLD"
        assert own._request_signer._credentials is vault.credentials  # type: ignore[attr-defined]
        vault.go_on.set()


def test_a_failure_before_a_request_moves_no_breaker() -> None:
    failure = Failure(Fault.NOT_OFFERED, "NoFipsEndpoint", "none")
    from secretcache._regions.board import Board  # noqa: PLC0415
    from secretcache._regions.policy import RegionPolicy  # noqa: PLC0415

    board = Board(REGIONS, RegionPolicy(), lambda: 0.0, lambda: 0.0)
    for _ in range(5):
        board.not_made(OSAKA, failure, 0.0)
        board.not_made(TOKYO, failure._replace(fault=Fault.LOCAL), 0.0)
    osaka, tokyo = (board.health(region, "", 0, 0.0) for region in REGIONS)
    assert (osaka.state, osaka.parked_seconds, osaka.outcomes) == ("closed", 600.0, {"not_offered": 5})
    assert (tokyo.parked_seconds, tokyo.last_error, tokyo.outcomes) == (0.0, None, {"local": 5})
