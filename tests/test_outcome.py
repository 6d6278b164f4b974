"""From a verdict to an error, by itself."""

from __future__ import annotations

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
