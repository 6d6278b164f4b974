"""The botocore edge: sessions, clients, configuration, and what each failure means."""

from __future__ import annotations

import errno
import socket
import sys
import threading
from datetime import datetime, timedelta, timezone
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import UnknownServiceError

from local_aws import LocalAws, Said
from secretcache import ConfigurationError, CredentialsError, SecretCache, SecretUnavailableError
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._ids import Query, SecretId
from secretcache._secret import Lifetime
from secretcache._settings import Settings
from secretcache._transport import Call, Failure, Fault, _sessions
from secretcache._transport._botocore import BotocoreTransport
from secretcache._transport._sessions import RegionClient, default_session
from secretcache._versions import read_answer
from support import OSAKA, PATIENCE, REGIONS, TOKYO, InThread

HOST = "secretsmanager.ap-northeast-3.amazonaws.com"
URL = f"https://{HOST}/"


def client_of(transport: BotocoreTransport, region: str) -> Any:
    assert transport.prepare(region) is None
    made = transport._clients[region].result()
    assert isinstance(made, RegionClient)
    return made.client


HTML = "<!DOCTYPE html><html>canary</html>"
THROTTLED = '{"__type": "com.amazonaws#ThrottlingException", "message": "slow down"}'


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (Said(503, HTML), (Fault.REGION, "503", False, 0)),
        (Said(503, "<html>canary</html>"), (Fault.REGION, "503", False, 0)),
        (Said(500, ""), (Fault.REGION, "500", False, 0)),
        (Said(403, "{}"), (Fault.REGION, "403", False, 0)),
        (Said(403, '{"SecretString": "canary"}'), (Fault.REGION, "403", False, 0)),
        (Said(429, HTML), (Fault.REGION, "429", False, 0)),
        (Said(407, HTML), (Fault.REGION, "407", False, 0)),
        (Said(302, HTML, (("Location", "http://127.0.0.1:9/login"),)), (Fault.REGION, "302", False, 0)),
        (Said(300, HTML), (Fault.REGION, "NoErrorCode", False, 0)),
        (Said(200, HTML), (Fault.REGION, "InvalidAnswer", False, 0)),
        (Said(200, ""), (Fault.REGION, "InvalidAnswer", False, 0)),
        (Said(200, '["canary"]'), (Fault.REGION, "AttributeError", False, 0)),
        (Said(400, '["canary"]'), (Fault.REGION, "AttributeError", False, 0)),
        (Said(400, '{"__type": 7, "message": "canary"}'), (Fault.REGION, "TypeError", False, 0)),
        (Said(400, '{"__type": "", "message": "canary"}'), (Fault.REGION, "NoErrorCode", False, 0)),
        (Said(500, '{"__type": "InternalServiceError"}'), (Fault.REGION, "InternalServiceError", True, 0)),
        (Said(400, '{"__type": "AccessDeniedException"}'), (Fault.DENIED, "AccessDeniedException", True, 0)),
        (Said(400, THROTTLED, (("Retry-After", "7"),)), (Fault.THROTTLED, "ThrottlingException", True, 7)),
        (Said(503, THROTTLED, (("X-Amz-Retry-After", "1500"),)), (Fault.THROTTLED, "ThrottlingException", True, 1.5)),
    ],
)
def test_what_stands_in_the_way_is_told_from_the_service(
    manager: EmbeddedSecretsManager, said: Said, expected: tuple[Fault, str, bool, float]
) -> None:
    with LocalAws(says=lambda _: said) as aws:
        settings = Settings(regions=(OSAKA,), endpoint_urls={OSAKA: aws.url()}, session_factory=manager.session)
        transport = BotocoreTransport(settings)
        call = Call(OSAKA, Query(SecretId("prod/db")))
        failure = read_answer(call, transport.send(call), 0.0, Lifetime(lambda: 0.0, 300.0))
        transport.close()
    assert isinstance(failure, Failure)
    assert (failure.fault, failure.code, failure.answered, failure.retry_after) == expected
    assert "canary" not in f"{failure!r} {failure} {failure.cause!r} {vars(failure.cause) if failure.cause else ''}"


def test_a_process_that_is_out_of_files_blames_no_region(
    manager: EmbeddedSecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    transport = BotocoreTransport(
        Settings(regions=REGIONS, endpoint_urls=manager.endpoint_urls, session_factory=manager.session)
    )
    assert transport.prepare(OSAKA) is None
    monkeypatch.setattr(socket, "socket", no_more)
    failure = transport.send(Call(OSAKA, Query(SecretId("prod/db"))))
    monkeypatch.undo()
    transport.close()
    assert isinstance(failure, Failure)
    assert failure.fault is Fault.LOCAL


def test_one_session_and_client_per_region_made_once_and_only_when_needed(manager: EmbeddedSecretsManager) -> None:
    made: list[str] = []
    first, go_on = threading.Event(), threading.Event()

    def factory(region: str) -> botocore.session.Session:
        made.append(region)
        first.set()
        assert go_on.wait(10)
        return manager.session(region)

    for name in "abcd":
        manager.create(f"once/{name}", "x")
    with SecretCache(list(REGIONS), session_factory=factory, endpoint_urls=manager.endpoint_urls) as cache:
        readers = [InThread(lambda name=name: cache.get(f"once/{name}")) for name in "abcd"]  # type: ignore[misc]
        assert first.wait(10)
        go_on.set()
        assert [reader.result().region for reader in readers] == [OSAKA] * 4
        assert made == [OSAKA]


def test_a_boto3_session_will_do(manager: EmbeddedSecretsManager) -> None:
    manager.create("boto3", "x")
    keys: Any = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    with SecretCache(
        [OSAKA],
        endpoint_urls={OSAKA: manager.endpoint_urls[OSAKA]},
        session_factory=lambda region: boto3.Session(region_name=region, **keys),
    ) as cache:
        assert cache.get("boto3").string == "x"


def test_a_session_factory_that_fails_is_named_and_tried_again(manager: EmbeddedSecretsManager) -> None:
    manager.create("factory", "x")
    fails = [True]

    def factory(region: str) -> Any:
        if fails.pop():
            fails.append(False)
            raise RuntimeError("vault is sealed")
        fails.append(False)
        return manager.session(region)

    with SecretCache([OSAKA], session_factory=factory, endpoint_urls={OSAKA: manager.endpoint_urls[OSAKA]}) as cache:
        with pytest.raises(ConfigurationError, match=r"session_factory\('ap-northeast-3'\).*vault is sealed"):
            cache.get("factory")
        assert cache.get("factory").string == "x"


OUT_OF_FILES = OSError(errno.EMFILE, "Too many open files")


@pytest.mark.parametrize(
    "error", [OUT_OF_FILES, MemoryError(), ImportError("half an archive"), SystemExit(1)], ids=repr
)
def test_whatever_prevents_a_client_is_told_to_all_who_wait_for_it_and_tried_again(
    manager: EmbeddedSecretsManager, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def fails(*_: Any) -> Any:
        begun.set()
        assert go_on.wait(PATIENCE)
        raise error

    transport = BotocoreTransport(
        Settings(regions=REGIONS, endpoint_urls=manager.endpoint_urls, session_factory=manager.session)
    )
    with monkeypatch.context() as patch:
        patch.setattr(_sessions, "new_client", fails)
        makes = InThread(lambda: transport.prepare(OSAKA))
        assert begun.wait(PATIENCE)
        waits = [InThread(lambda: transport._clients[OSAKA].result(PATIENCE)) for _ in range(2)]
        go_on.set()
        told = [makes.result(), *(one.result() for one in waits)]
    assert {type(one) for one in told} == {Failure}
    assert {one.fault for one in told if isinstance(one, Failure)} == {Fault.LOCAL}
    for one in told:
        assert str(one).startswith(f"{type(error).__name__}: no client for {OSAKA} could be made: ")
        assert str(error) in str(one)
    assert transport.prepare(OSAKA) is None
    transport.close()


def test_an_import_that_fails_is_tried_again(manager: EmbeddedSecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    manager.create("import", "x")
    with SecretCache(
        [OSAKA], session_factory=manager.session, endpoint_urls={OSAKA: manager.endpoint_urls[OSAKA]}
    ) as cache:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "secretcache._transport._sessions", None)
            with pytest.raises(SecretUnavailableError, match=rf"no client for {OSAKA} could be made: .*_sessions"):
                cache.get("import")
        assert cache.get("import").string == "x"
        assert cache.region_health()[OSAKA].outcomes.get("region", 0) == 0


def test_a_handler_or_a_provider_that_exits_ends_no_thread(manager: EmbeddedSecretsManager) -> None:
    def leave(**_: Any) -> None:
        raise SystemExit(3)

    def factory(region: str) -> botocore.session.Session:
        session = manager.session(region)
        session.register("before-send.secretsmanager", leave)
        return session

    transport = BotocoreTransport(
        Settings(regions=REGIONS, endpoint_urls=manager.endpoint_urls, session_factory=factory)
    )
    told = transport.send(Call(OSAKA, Query(SecretId("prod/db"))))
    transport.close()
    assert isinstance(told, Failure)
    assert (told.fault, told.code) == (Fault.LOCAL, "SystemExit")


def test_missing_credentials_are_told_apart(monkeypatch: pytest.MonkeyPatch, manager: EmbeddedSecretsManager) -> None:
    def without_credentials(region: str) -> botocore.session.Session:
        session = manager.session(region)
        session.get_credentials = lambda: None  # type: ignore[method-assign]
        session._credentials = None  # type: ignore[attr-defined]
        return session

    with (
        SecretCache(list(REGIONS), session_factory=without_credentials, endpoint_urls=manager.endpoint_urls) as cache,
        pytest.raises(CredentialsError, match=r"NoCredentialsError.*aws sts get-caller-identity"),
    ):
        cache.get("any")


def test_client_config_lies_under_our_own_timeouts(manager: EmbeddedSecretsManager) -> None:
    given = Config(
        read_timeout=60, retries={"max_attempts": 9}, proxies={}, user_agent_extra="team/1", tcp_keepalive=True
    )
    transport = BotocoreTransport(Settings(regions=REGIONS, client_config=given, session_factory=manager.session))
    client = client_of(transport, OSAKA)
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"]) == (1, 2, 1)
    assert (config.tcp_keepalive, config.proxies) == (True, {})
    assert config.user_agent_extra.startswith("team/1 secretcache/")


def test_each_regions_session_depends_on_no_other_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", TOKYO)
    transport = BotocoreTransport(Settings(regions=REGIONS))
    assert transport.host(OSAKA) == HOST
    client = client_of(transport, OSAKA)
    assert client.meta.endpoint_url == URL.rstrip("/")
    assert default_session(OSAKA).get_config_variable("region") == OSAKA


def test_a_session_of_ours_knows_every_service_and_no_other() -> None:
    session = default_session(OSAKA)
    known = session.get_available_services()
    assert {"secretsmanager", "sts", "sso", "sso-oidc"} < set(known)
    assert not [name for name in known if "." in name or name.startswith("_")]
    assert session.get_component("data_loader") is default_session(TOKYO).get_component("data_loader"), "read once"
    for name in ("no-such-service", "secretsmanager"):
        with pytest.raises(UnknownServiceError):
            session.get_component("data_loader").load_service_model(name, "no-such-kind")


def test_credentials_that_cannot_tell_whether_they_are_due_are_loaded_where_it_is_known_what_failed() -> None:
    class Broken(RefreshableCredentials):  # type: ignore[misc,unused-ignore]
        def refresh_needed(self, refresh_in: int | None = None) -> bool:
            raise TypeError("a time without a zone")

    soon = datetime.now(timezone.utc) + timedelta(hours=1)
    client = default_session(OSAKA).create_client("secretsmanager", aws_access_key_id="a", aws_secret_access_key="b")
    held = RegionClient(client, Broken("a", "b", "c", soon, dict, "vault"))
    assert not held.has_credentials()
    told = held.load_credentials()
    assert told is not None
    assert told.fault is Fault.IDENTITY
    assert not held.has_credentials()
