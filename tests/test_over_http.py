"""The main job over real HTTP: a secret read from Osaka, with Tokyo behind it."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

import pytest

from secretcache import (
    ConfigurationError,
    Secret,
    SecretAccessDeniedError,
    SecretCache,
    SecretFormatError,
    SecretNotFoundError,
    SecretUnavailableError,
)
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import (
    EMPTY_200,
    HTML_200,
    HTML_503,
    INTERNAL_500,
    Delay,
    Drip,
    Fault,
    Refuse,
    Reset,
    ResetMidway,
    Respond,
    Silent,
    service_error,
)
from support import OSAKA, REGIONS, TOKYO

pytestmark = pytest.mark.usefixtures("steady_regions")

MakeCache = Callable[..., SecretCache]
SLACK = 3.0  # seconds that a busy machine may add to a deadline kept on it


@pytest.fixture
def name(manager: EmbeddedSecretsManager) -> str:
    """A secret of its own for each test."""
    made = f"test/{uuid4().hex}"
    manager.create(made, '{"password": "v1"}')
    return made


def asked(manager: EmbeddedSecretsManager) -> list[int]:
    return [len(manager.proxies[region].requests) for region in REGIONS]


def timed(read: Callable[[], Secret]) -> tuple[Secret, float]:
    began = time.monotonic()
    return read(), time.monotonic() - began


def test_by_name_from_the_replica(manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str) -> None:
    secret = make_cache().get(name)
    assert (secret["password"], secret.region, secret.name) == ("v1", OSAKA, name)
    assert secret.arn.startswith(f"arn:aws:secretsmanager:{OSAKA}:")
    assert secret.version_stages == ("AWSCURRENT",)
    assert secret.created_date is not None
    assert asked(manager) == [1, 0]


def test_by_the_primarys_arn_from_the_replica(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str
) -> None:
    arn = manager.admin().describe_secret(SecretId=name)["ARN"]
    cache = make_cache()
    secret = cache.get(arn)
    assert (secret.region, secret.arn) == (OSAKA, arn.replace(TOKYO, OSAKA))
    (request,) = manager.proxies[OSAKA].requests
    assert (request.secret_id, request.region) == (secret.arn, OSAKA)
    assert cache.get(secret.arn) is secret


def test_a_warm_read_makes_no_request(manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str) -> None:
    cache = make_cache()
    first = cache.get(name)
    assert all(cache.get(name) is first for _ in range(100))
    assert asked(manager) == [1, 0]


def test_rotation_is_seen_after_ttl(manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str) -> None:
    cache = make_cache(ttl=0)
    version = manager.rotate(name, '{"password": "v2"}')
    secret = cache.get(name)
    assert (secret["password"], secret.version_id) == ("v2", version)
    previous = cache.get(name, version_stage="AWSPREVIOUS")
    assert previous["password"] == "v1"
    assert cache.get(name, version_id=previous.version_id)["password"] == "v1"


QUICK_FAULTS = {
    "refused": Refuse(),
    "reset": Reset(),
    "reset in the middle": ResetMidway(),
    "500": INTERNAL_500,
    "503 HTML": HTML_503,
    "empty 200": EMPTY_200,
    "HTML 200": HTML_200,
    "403 {}": Respond(403, b"{}"),
    "throttled": service_error("ThrottlingException", "Rate exceeded"),
    "not found": service_error("ResourceNotFoundException"),
    "denied": service_error("AccessDeniedException"),
    "KMS denied": service_error("DecryptionFailure"),
    "expired token": service_error("ExpiredTokenException"),
}


@pytest.mark.parametrize("fault", QUICK_FAULTS.values(), ids=QUICK_FAULTS)
def test_osaka_fails_and_tokyo_answers(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str, fault: Fault
) -> None:
    manager.proxies[OSAKA].set_fault(fault)
    cache = make_cache()
    secret = cache.get(name)
    assert (secret["password"], secret.region) == ("v1", TOKYO)
    # Credentials that have expired are loaded anew, and tried once more.
    assert cache.stats().regions[OSAKA].failures == (2 if fault is QUICK_FAULTS["expired token"] else 1)
    assert cache.stats().regions[OSAKA].stuck_attempts == 0, "nobody waited for the cap"


@pytest.mark.parametrize("fault", [Silent(), Delay(60), Drip(1)], ids=["silent", "slow", "1 byte/s"])
def test_osaka_does_not_answer_in_time_and_tokyo_does(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str, fault: Fault
) -> None:
    manager.proxies[OSAKA].set_fault(fault)
    secret, seconds = timed(lambda: make_cache(timeout=2).get(name))
    assert secret.region == TOKYO
    assert seconds < 1 + SLACK, "of two seconds for two regions, one is Osaka's"


def test_both_silent_is_two_attempts_within_the_timeout(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str
) -> None:
    for proxy in manager.proxies.values():
        proxy.set_fault(Silent())
    began = time.monotonic()
    with pytest.raises(SecretUnavailableError, match=r"AttemptTimeout") as caught:
        make_cache(timeout=1).get(name)
    assert time.monotonic() - began < 1 + SLACK
    assert [attempt.region for attempt in caught.value.attempts] == list(REGIONS)
    assert caught.value.retry_after > 0


def test_both_refused_says_where_and_why(manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str) -> None:
    for proxy in manager.proxies.values():
        proxy.set_fault(Refuse())
    with pytest.raises(SecretUnavailableError) as caught:
        make_cache().get(name)
    asked = [(attempt.region, attempt.host) for attempt in caught.value.attempts]
    assert asked == [(region, "127.0.0.1") for region in (*REGIONS, OSAKA)], "and once more, when all have failed"
    assert "Could not connect" in caught.value.attempts[0].error
    assert type(caught.value.__cause__).__name__ == "EndpointConnectionError"


def test_an_outage_is_bridged_by_the_value_held(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str
) -> None:
    cache = make_cache(ttl=0)
    held = cache.get(name)
    for proxy in manager.proxies.values():
        proxy.set_fault(Refuse())
    assert cache.get(name) is held
    assert held.is_stale
    manager.proxies[TOKYO].heal()
    assert make_cache().get(name).region == TOKYO


def test_not_found(make_cache: MakeCache) -> None:
    with pytest.raises(SecretNotFoundError, match=r"'no/such'.*Check the id") as caught:
        make_cache().get("no/such")
    assert [attempt.region for attempt in caught.value.attempts] == list(REGIONS)


def test_marked_for_deletion(manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str) -> None:
    for proxy in manager.proxies.values():
        proxy.set_fault(service_error("InvalidRequestException", "it was marked for deletion"))
    with pytest.raises(SecretNotFoundError, match=r"restore-secret"):
        make_cache().get(name)


@pytest.mark.parametrize("code", ["AccessDeniedException", "DecryptionFailure"])
def test_denied_everywhere_is_not_masked(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str, code: str
) -> None:
    cache = make_cache(ttl=0)
    cache.get(name)
    for proxy in manager.proxies.values():
        proxy.set_fault(service_error(code))
    for _ in range(3):
        with pytest.raises(SecretAccessDeniedError, match=r"secretsmanager:GetSecretValue"):
            cache.get(name)


def test_a_request_the_service_calls_malformed(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"VersionId"):
        make_cache().get(name, version_id="too-short")
    assert asked(manager) == [0, 0]


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("plain text", lambda secret: secret.string),
        (b"\x00\xff\xfe", lambda secret: secret.binary),
        ("x" * 65_536, lambda secret: secret.string),
        ("パスワード \U0001f511 \x00", lambda secret: secret.string),
    ],
    ids=["text", "binary", "64 KiB", "unicode"],
)
def test_values_arrive_as_they_are(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, value: str | bytes, read: Callable[[Secret], str | bytes]
) -> None:
    name = f"日本/{uuid4().hex}"
    manager.create(name, value)
    secret = make_cache().get(name)
    assert secret.name == name
    assert read(secret) == value


def test_an_empty_string_is_a_value(manager: EmbeddedSecretsManager, make_cache: MakeCache, name: str) -> None:
    arn = manager.admin(OSAKA).describe_secret(SecretId=name)["ARN"]
    body = f'{{"ARN": "{arn}", "Name": "{name}", "VersionId": "{"0" * 32}", "SecretString": ""}}'
    manager.proxies[OSAKA].set_fault(Respond(200, body.encode()))
    secret = make_cache().get(name)
    assert (secret.string, secret.region) == ("", OSAKA)
    with pytest.raises(SecretFormatError, match=r"not JSON"):
        secret.json()


def test_unicode_ids_that_do_not_exist(make_cache: MakeCache) -> None:
    for odd in ("秘密", "a b", "a\nb", "x" * 2048):
        with pytest.raises((SecretNotFoundError, ConfigurationError)):
            make_cache().get(odd)
