"""Many at once: twenty a request, and what happens where a batch is not allowed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from secretcache import (
    CacheClosedError,
    ConfigurationError,
    SecretAccessDeniedError,
    SecretCache,
    SecretNotFoundError,
    SecretUnavailableError,
)
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Respond, service_error
from secretcache._transport import BatchCall, Call, Fault, Reply
from support import OSAKA, TOKYO, House, InThread, answer, arn, failure

HUNDRED = [f"secret-{number}" for number in range(100)]


def test_100_cold_secrets_are_5_calls() -> None:
    house = House()
    result = house.cache.prefetch(HUNDRED)
    assert result.succeeded == tuple(HUNDRED)
    assert not result.failed
    assert [len(call.queries) for call in house.regions.calls] == [20] * 5
    assert {house.cache.get(name).name for name in HUNDRED} == set(HUNDRED)
    assert len(house.regions.calls) == 5


def test_what_is_fresh_is_not_asked_for_and_one_is_asked_for_singly() -> None:
    house = House()
    house.cache.get("secret-0")
    assert house.cache.prefetch(["secret-0", "secret-1", "secret-1"]).succeeded == ("secret-0", "secret-1")
    assert [type(call) for call in house.regions.calls] == [Call, Call]
    assert house.cache.prefetch([]).succeeded == ()


def test_ids_of_one_secret_are_asked_for_by_each_regions_arn() -> None:
    house = House()
    house.fails(OSAKA)
    house.regions.batch_replies[OSAKA] = failure
    wanted = [arn(TOKYO, "a"), arn(OSAKA, "a"), "b"]
    assert house.cache.prefetch(wanted).succeeded == tuple(wanted)
    assert [call.secret_ids for call in house.regions.calls] == [[arn(OSAKA, "a"), "b"], [arn(TOKYO, "a"), "b"]]
    assert house.cache.get("b").region == TOKYO


def test_partial_errors_are_kept_per_secret() -> None:
    house = House()

    def missing(call: Call) -> Reply:
        name = call.query.secret.name
        return failure(Fault.MISSING) if name == "gone" else answer(call.region, name=name)

    house.regions.replies = {OSAKA: missing, TOKYO: missing}
    result = house.cache.prefetch(["a", "gone", "b"])
    assert result.succeeded == ("a", "b")
    assert isinstance(result.failed["gone"], SecretNotFoundError)


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.CALLER])
def test_where_the_batch_is_denied_or_unknown_secrets_are_read_singly(fault: Fault) -> None:
    house = House()
    for region in (OSAKA, TOKYO):
        house.regions.batch_replies[region] = lambda: failure(fault, "AccessDeniedException")
    assert house.cache.prefetch(["a", "b", "c"]).succeeded == ("a", "b", "c")
    singles = [call for call in house.regions.calls if isinstance(call, Call)]
    assert [call.region for call in singles] == [OSAKA] * 3


def test_where_it_is_throttled_it_waits_and_tries_again() -> None:
    house = House([OSAKA])
    open_at = house.runtime.now() + 0.75

    def reply() -> Reply:
        values = [answer(OSAKA, name=name) for name in ("a", "b")]
        throttled = failure(Fault.THROTTLED, "ThrottlingException")
        return {"SecretValues": values} if house.runtime.now() >= open_at else throttled

    house.regions.batch_replies[OSAKA] = reply
    result = house.patiently(lambda: house.cache.prefetch(["a", "b"]))
    assert not result.failed
    assert result.succeeded == ("a", "b")
    assert [type(call) for call in house.regions.calls] == [BatchCall] * 2


def test_throttled_to_the_end_is_told_within_the_timeout() -> None:
    house = House()
    throttled = lambda: failure(Fault.THROTTLED, "ThrottlingException")  # noqa: E731
    house.regions.batch_replies = {OSAKA: throttled, TOKYO: throttled}
    result = house.patiently(lambda: house.cache.prefetch(["a", "b"], timeout=1.5))
    assert {type(error) for error in result.failed.values()} == {SecretUnavailableError}


def test_one_that_is_left_over_is_asked_for_beside_the_batch() -> None:
    house = House()
    house.regions.hold(OSAKA)
    prefetching = InThread(lambda: house.cache.prefetch(HUNDRED[:21]))
    gates = [house.regions.gate(number) for number in range(2)]
    for gate in gates:
        name = HUNDRED[20] if isinstance(gate.call, Call) else ""
        gate.answer(answer(OSAKA, name=name) if name else house.regions._batch(gate.call))
    assert prefetching.result().succeeded == tuple(HUNDRED[:21])


def test_both_regions_down_is_told_for_each() -> None:
    house = House()
    house.regions.batch_replies = {OSAKA: failure, TOKYO: failure}
    result = house.cache.prefetch(["a", "b"])
    assert result.succeeded == ()
    assert set(result.failed) == {"a", "b"}
    assert len(house.regions.calls) == 2, "what is down is not asked again secret by secret"


@pytest.mark.parametrize("reply", [{}, {"SecretValues": None}, {"SecretValues": [answer(OSAKA, name="other")]}])
def test_an_answer_that_is_none_warms_nothing_wrong(reply: dict[str, Any]) -> None:
    house = House()
    house.regions.batch_replies[OSAKA] = lambda: reply
    assert house.cache.prefetch(["a", "b"]).succeeded == ("a", "b")
    assert house.cache.get("a").name == "a"


@pytest.mark.parametrize("value", [None, "a", 12, ["a"], {}], ids=["null", "text", "number", "list", "empty"])
def test_a_value_in_a_batch_that_is_no_secret_spoils_only_itself(value: object) -> None:
    house = House()
    house.regions.batch_replies[OSAKA] = lambda: {"SecretValues": [value, answer(OSAKA, name="a")]}
    assert house.cache.prefetch(["a", "b"]).succeeded == ("a", "b")
    singly = [call.query.secret.name for call in house.regions.calls if isinstance(call, Call)]
    assert singly == ["b"], "what the batch has not is asked for singly, and nothing else is"
    assert house.cache.get("a").region == house.cache.get("b").region == OSAKA


def test_invalidated_meanwhile_is_not_brought_back() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    warmed = InThread(lambda: house.cache.prefetch(["a", "b"]))
    gate = house.regions.gate()
    house.cache.invalidate("a")
    gate.answer({"SecretValues": [answer(OSAKA, name="a"), answer(OSAKA, name="b")]})
    warmed.result()
    house.regions.hold()
    calls = len(house.regions.calls)
    house.cache.get("a")
    assert len(house.regions.calls) == calls + 1


def test_closed_meanwhile() -> None:
    house = House(regions=[OSAKA])
    house.regions.hold(OSAKA)
    warmed = InThread(lambda: house.cache.prefetch(["a", "b"]))
    gate = house.regions.gate()
    house.cache.close()
    with pytest.raises(CacheClosedError):
        warmed.result()
    gate.answer(failure())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("prod/db",), "^secret_ids must be a list of names and ARNs, got str"),
        ((5,), "^secret_ids must be a list"),
        ((["a", None],), "^secret_id must be"),
        ((["a", "arn:aws:ssm"],), "^secret_id .*not a Secrets Manager ARN"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_asked(arguments: Any, expected: str) -> None:
    house = House()
    with pytest.raises(ConfigurationError, match=expected):
        house.cache.prefetch(*arguments)
    with pytest.raises(ConfigurationError, match=r"^timeout must be"):
        house.cache.prefetch(["a"], timeout=0)
    assert not house.regions.calls


def test_aprefetch_is_the_same() -> None:
    house = House()
    result = asyncio.run(house.cache.aprefetch(HUNDRED))
    assert result.succeeded == tuple(HUNDRED)
    assert [type(call) for call in house.regions.calls] == [BatchCall] * 5


# Over real HTTP.


def test_a_batch_over_http(manager: EmbeddedSecretsManager, make_cache: Any) -> None:
    names = [f"batch/{number}" for number in range(45)]
    for name in names:
        manager.create(name, f"value of {name}")
    cache: SecretCache = make_cache()
    assert cache.prefetch([*names, "batch/none"]).succeeded == tuple(names)
    asked = [request.operation for request in manager.proxies[OSAKA].requests]
    assert asked == ["BatchGetSecretValue"] * 3 + ["GetSecretValue"]
    assert all(cache.get(name).string == f"value of {name}" for name in names)


def test_a_batch_that_is_denied_over_http(manager: EmbeddedSecretsManager, make_cache: Any) -> None:
    for proxy in manager.proxies.values():
        proxy.set_fault(service_error("AccessDeniedException"))
    result = make_cache().prefetch(["a", "b"])
    assert {type(error) for error in result.failed.values()} == {SecretAccessDeniedError}


def test_a_batch_fails_over_as_single_reads_do(manager: EmbeddedSecretsManager, make_cache: Any) -> None:
    for name in ("over/a", "over/b"):
        manager.create(name, "x")
    manager.proxies[OSAKA].set_fault(Respond(503, b"<html>", "text/html"))
    cache: SecretCache = make_cache()
    assert cache.prefetch(["over/a", "over/b"]).succeeded == ("over/a", "over/b")
    assert cache.get("over/a").region == TOKYO
