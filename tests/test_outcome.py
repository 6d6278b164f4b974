"""From a verdict to an error, by itself."""

from __future__ import annotations

import pytest

from secretcache import ConfigurationError
from secretcache._ids import Query, SecretId
from secretcache._outcome import error_for
from secretcache._regions.route import Leg, Verdict
from secretcache._transport import Failure, Fault
from support import OSAKA, TOKYO

QUERY = Query(SecretId("prod/db"))
MALFORMED = Failure(Fault.CALLER, "InvalidParameterException", "too short", answered=True)
OPEN = Failure(Fault.REGION, "BreakerOpen", "not asked")


def said_by_osaka() -> Leg:
    return Leg(OSAKA, 0.0, 2.5, 2.5, started_at=0.0, ended_at=0.6, failure=MALFORMED)


def told(verdict: Verdict) -> str:
    error = error_for(QUERY, verdict, 0.6, lambda region: f"host-of-{region}")
    assert isinstance(error, ConfigurationError)
    return str(error)


def test_what_is_wrong_with_a_request_is_told_of_the_region_that_says_so_not_of_a_hedge_under_way() -> None:
    hedge = Leg(TOKYO, 0.5, 2.5, 2.5, started_at=0.5)
    message = told(Verdict(Fault.CALLER, (said_by_osaka(), hedge)))
    assert f"{OSAKA} (host-of-{OSAKA}): InvalidParameterException: too short (0.60 s)" in message
    assert TOKYO not in message


def test_nor_of_a_region_that_was_not_asked() -> None:
    assert TOKYO not in told(Verdict(Fault.CALLER, (said_by_osaka(),), ((TOKYO, OPEN),)))


def test_where_a_stage_is_missing_the_advice_is_about_stages() -> None:
    missing = Verdict(Fault.MISSING, ())
    for query, advice in [(QUERY, "Check the id"), (QUERY._replace(stage="AWSPREVIOUS"), "Check the stage")]:
        assert advice in str(error_for(query, missing, 0.6, str))


def leg(ticket: int, fault: Fault | None) -> Leg:
    return Leg(OSAKA, 0.0, 2.5, 2.5, ticket=ticket, failure=Failure(fault, "Told", "so") if fault is not None else None)


@pytest.mark.parametrize(
    ("legs", "asked"),
    [
        ([(5, Fault.REGION), (8, Fault.DELETED), (9, Fault.DENIED)], 8),  # what did not answer says nothing of it
        ([(5, None), (8, Fault.MISSING)], 8),
        ([(5, Fault.REGION), (8, Fault.THROTTLED)], 5),
        ([(0, Fault.LOCAL), (8, Fault.REGION)], 8),  # it was not sent
        ([(0, Fault.LOCAL)], 0),
        ([], 0),
    ],
)
def test_a_refusal_rests_on_what_was_refused_and_any_other_failure_on_all_that_was_asked(
    legs: list[tuple[int, Fault | None]], asked: int
) -> None:
    verdict = Verdict(Fault.REGION, tuple(leg(*one) for one in legs))
    assert verdict.asked == asked
    assert verdict.refused is any(fault in (Fault.MISSING, Fault.DELETED, Fault.DENIED) for _, fault in legs)
