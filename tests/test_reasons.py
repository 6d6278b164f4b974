"""What is said of proxies, CA bundles, and codes with more than one meaning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import Authority, ForwardProxy, LocalAws
from secretcache import (
    ConfigurationError,
    SecretAccessDeniedError,
    SecretCache,
    SecretCacheError,
    SecretNotFoundError,
    SecretUnavailableError,
)
from secretcache._ids import Query, SecretId
from secretcache._outcome import error_for
from secretcache._regions.route import Leg, Verdict
from secretcache._settings import Settings, default_regions
from secretcache._transport import Call, Failure, Fault
from secretcache._transport._botocore import BotocoreTransport
from secretcache._transport._classify import classify
from support import OSAKA, TOKYO
from test_configuration import Machine

QUERY = Query(SecretId("prod/db"))


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path, monkeypatch)
    made.keys()
    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls(authority: Authority) -> Iterator[LocalAws]:
    with LocalAws(authority.server("127.0.0.1")) as local:
        yield local


def failure(url: str) -> Failure:
    transport = BotocoreTransport(Settings(regions=(OSAKA,), endpoint_urls={OSAKA: url}))
    told = transport.send(Call(OSAKA, QUERY))
    transport.close()
    assert isinstance(told, Failure)
    return told


# Proxies


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (407, "answered 407: give it a user name and a password in HTTPS_PROXY, or other ones"),
        (403, "answered 403: have it let this host through, or name the host in NO_PROXY"),
    ],
)
def test_what_a_proxy_said_is_told_and_never_its_password(
    machine: Machine, tls: LocalAws, status: int, said: str
) -> None:
    with ForwardProxy(tls.port) as proxy:
        proxy.refuses["127.0.0.1"] = status
        machine.set("HTTPS_PROXY", proxy.url.replace("//", "//user:hush@"))
        told = failure(tls.url())
    assert (told.fault, told.message) == (Fault.REGION, f"the proxy {proxy.url.removeprefix('http://')} {said}")
    assert "hush" not in f"{told!r} {told.cause!r}"


def test_a_dead_proxy_is_told_from_one_that_refuses(machine: Machine, tls: LocalAws) -> None:
    with ForwardProxy(tls.port) as proxy:
        url = proxy.url
    machine.set("HTTPS_PROXY", url.replace("//", "//user:hush@"))
    told = failure(tls.url())
    assert told.message == (
        f"the proxy {url.removeprefix('http://')} could not be reached (Connection refused): "
        "check HTTPS_PROXY and HTTP_PROXY, or name this host in NO_PROXY"
    )


# Certificates


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist"), ("junk", "holds no certificates that can be read")]
)
def test_a_ca_bundle_that_cannot_be_used_is_named_with_its_variable(
    machine: Machine, tls: LocalAws, variable: str, content: str | None, said: str
) -> None:
    bundle = machine.folder / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    machine.set(variable, str(bundle))
    with (
        SecretCache([OSAKA], endpoint_urls={OSAKA: tls.url()}) as cache,
        pytest.raises(ConfigurationError, match=rf"the CA bundle {bundle}, from {variable}, {said}"),
    ):
        cache.get("x")
    assert cache.region_health()[OSAKA].state == "closed"


def test_a_bundle_of_the_configuration_file(machine: Machine, tls: LocalAws) -> None:
    machine.config("[default]\nca_bundle = /no/such.pem\n")
    assert "/no/such.pem, from ca_bundle in the configuration, does not exist" in failure(tls.url()).message


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_an_empty_bundle_variable_is_not_told_as_credentials(machine: Machine, tls: LocalAws, variable: str) -> None:
    machine.set(variable, "")
    told = failure(tls.url())
    assert told.fault is not Fault.IDENTITY
    assert "CA" in told.message or "CERTIFICATE" in told.message


def test_a_certificate_that_nobody_vouches_for(machine: Machine, tls: LocalAws, tmp_path: Path) -> None:
    told = failure(tls.url())
    assert told.fault is Fault.REGION
    assert told.message.endswith("name the one of your proxy or emulator in AWS_CA_BUNDLE, if there is one")
    (tmp_path / "others").mkdir()
    other = Authority(tmp_path / "others")
    machine.set("AWS_CA_BUNDLE", str(other.bundle))
    told = failure(tls.url())
    assert told.fault is Fault.REGION
    assert told.message.endswith(f"certificates are checked by {other.bundle}, from AWS_CA_BUNDLE")


# Codes with more than one meaning

DEFAULT_KEY = (
    "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
)
MISMATCH = "The VersionStage AWSCURRENT isn't associated to the provided VersionId."


@pytest.mark.parametrize(
    ("message", "fault", "error", "advice"),
    [
        ("... because it was marked for deletion.", Fault.DELETED, SecretNotFoundError, "restore-secret"),
        ("... because it was deleted.", Fault.DELETED, SecretNotFoundError, "restore-secret"),
        (DEFAULT_KEY, Fault.DENIED, SecretAccessDeniedError, "customer managed KMS key"),
        (MISMATCH, Fault.CALLER, ConfigurationError, MISMATCH),
        ("Something new.", Fault.DENIED, SecretAccessDeniedError, "not valid for the current state of the resource"),
    ],
)
def test_an_invalid_request_is_told_by_its_message(
    message: str, fault: Fault, error: type[SecretCacheError], advice: str
) -> None:
    answer: Any = {"Error": {"Code": "InvalidRequestException", "Message": message}}
    told = classify(ClientError(answer, "GetSecretValue"), operation="GetSecretValue", endpoint="https://x/")
    assert (told.fault, told.answered) == (fault, True)
    raised = error_of(fault, told)
    assert type(raised) is error
    assert advice in str(raised)
    assert message in str(raised)
    assert ("marked for deletion" in str(raised).replace(message, "")) is (fault is Fault.DELETED)


def leg(region: str, told: Failure) -> Leg:
    return Leg(region, 0.0, 2.5, 2.5, taken_at=0.0, started_at=0.0, ended_at=0.5, failure=told)


def error_of(fault: Fault, *told: Failure) -> SecretCacheError:
    legs = tuple(leg(region, one) for region, one in zip((OSAKA, TOKYO), told, strict=False))
    return error_for(QUERY, Verdict(fault, legs), 1.0, str)


def test_a_secret_without_a_value_exists() -> None:
    message = "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"
    raised = error_of(Fault.MISSING, Failure(Fault.MISSING, "ResourceNotFoundException", message, answered=True))
    assert isinstance(raised, SecretNotFoundError)
    assert str(raised).startswith(f"secret {QUERY} exists, but has no value: ")
    assert "put-secret-value" in str(raised)


def test_the_error_leads_with_the_region_that_answered() -> None:
    silent = Failure(Fault.REGION, "ReadTimeoutError", "silence")
    missing = Failure(Fault.MISSING, "ResourceNotFoundException", "not here", answered=True)
    raised = error_of(Fault.REGION, silent, missing)
    assert isinstance(raised, SecretUnavailableError)
    text = str(raised)
    assert text.startswith(f"secret {QUERY} could not be read: {TOKYO} says ResourceNotFoundException: not here, and ")
    assert text.index("not here") < text.index("silence")
    assert [attempt.region for attempt in raised.attempts] == [OSAKA, TOKYO], "as they were made"


def test_no_attempt_is_listed_twice() -> None:
    told = Failure(Fault.REGION, "ReadTimeoutError", "silence")
    raised = error_for(QUERY, Verdict(Fault.REGION, (leg(OSAKA, told), leg(OSAKA, told))), 1.0, str)
    assert str(raised).count("silence") == 1


def test_without_credentials_the_places_are_named(machine: Machine) -> None:
    machine.set("AWS_PROFILE", "ops")
    raised = error_of(Fault.IDENTITY, Failure(Fault.IDENTITY, "NoCredentialsError", "Unable to locate credentials"))
    for place in ("AWS_ACCESS_KEY_ID", str(machine.folder / "credentials"), "AWS_PROFILE is ops"):
        assert place in str(raised)


# Regions


def test_the_region_of_other_sdks_is_used_where_botos_own_is_not_set(machine: Machine) -> None:
    machine.set("AWS_REGION", TOKYO)
    assert default_regions({}) == (TOKYO,)
    machine.set("AWS_DEFAULT_REGION", OSAKA)
    assert default_regions({}) == (OSAKA,)


def test_the_host_in_china() -> None:
    transport = BotocoreTransport(Settings(regions=("cn-north-1",)))
    assert transport.host("cn-north-1") == "secretsmanager.cn-north-1.amazonaws.com.cn"
