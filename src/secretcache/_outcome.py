"""From a verdict to the error its reader gets.

A new one for each reader, with every attempt in it and what to do next.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from secretcache._errors import (
    Attempt,
    ConfigurationError,
    CredentialsError,
    SecretAccessDeniedError,
    SecretCacheError,
    SecretNotFoundError,
    SecretUnavailableError,
)
from secretcache._transport import OF_THE_SECRET, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from secretcache._ids import Query
    from secretcache._regions.route import Leg, Verdict
    from secretcache._secret import Secret
    from secretcache._transport import Failure

__all__ = ["error_for", "made_again", "remembered"]

_NO_VALUE = "secret value for staging label"
"""Of the message of a ResourceNotFoundException: the secret is there."""
_OF_THE_DEFAULT_KEY = (
    "Encrypt the secret with a customer managed KMS key, and allow its readers kms:Decrypt on that: the key that the "
    "service makes, aws/secretsmanager, serves its own account alone"
)
_OF_AN_INVALID_REQUEST = (
    "The API reference says of this code: a parameter value is not valid for the current state of the resource. "
    "`aws secretsmanager describe-secret` tells that state"
)


def error_for(
    query: Query,
    verdict: Verdict,
    now: float,
    host: Callable[[str], str],
    pending: Callable[[str], str] = str,
) -> SecretCacheError:
    """The error of a read that ends without a value, its cause in place.

    Args:
        query: what was asked for.
        verdict: what the attempts add up to.
        now: when it ends.
        host: the host of a region.
        pending: what a region's client or credentials are waiting for, in words.
    """
    if verdict.legs and not verdict.unasked and all(leg.unsent for leg in verdict.legs):
        return _still_loading(query, verdict.legs, now, host, pending)
    decisive = verdict.decisive
    cause = decisive.cause if decisive else None
    attempts = tuple(_told(leg, now, host(leg.region)) for leg in verdict.legs)
    attempts += tuple(Attempt(region, host(region), str(why), 0.0) for region, why in verdict.unasked)
    if verdict.fault is Fault.CALLER:  # told by one region; a hedge may be under way in another
        attempts = tuple(_told(leg, now, host(leg.region)) for leg in verdict.legs if leg.failure is decisive)
    if verdict.fault is Fault.REGION:
        refusals = [leg for leg in verdict.legs if leg.failure is not None and leg.failure.fault in OF_THE_SECRET]
        decisive = refusals[0].failure if refusals else decisive
    error = _ERRORS.get(verdict.fault, _unavailable)(query, attempts, decisive)
    if isinstance(error, SecretUnavailableError):
        error.retry_after = verdict.retry_after
    error.__cause__ = cause
    return error


def made_again(query: Query, secret: Secret) -> SecretCacheError:
    """The error of a reader who asked by an ARN that is no more."""
    return SecretNotFoundError(
        f"secret {query} is gone: it was deleted and made again, and its name belongs to {secret.arn} now. "
        "Read it by its name, or by that ARN"
    )


def remembered(error: SecretCacheError, seconds: float) -> SecretCacheError:
    """The same error of a reader for whom nobody was asked, because of an answer that is remembered for so long yet."""
    why = f"No region was asked now: this is remembered for {seconds:.1f} s more, or until refresh() or invalidate()"
    error.args = (f"{error}. {why}",)
    return error


def _told(leg: Leg, now: float, host: str) -> Attempt:
    ended = now if leg.ended_at is None else leg.ended_at
    waits = "no answer yet" if leg.taken_at is not None else "queued: every thread of this region was busy"
    silent = waits if leg.ended_at is None else "its answer is too old by now: the process stood still"
    return Attempt(leg.region, host, str(leg.failure or silent), max(0.0, ended - leg.wanted_at))


def _list(attempts: Sequence[Attempt]) -> str:
    return "; ".join(dict.fromkeys(map(str, attempts))) or "no region was asked before the deadline"


def _still_loading(
    query: Query, legs: Sequence[Leg], now: float, host: Callable[[str], str], pending: Callable[[str], str]
) -> SecretCacheError:
    attempts = tuple(
        Attempt(
            leg.region,
            host(leg.region),
            pending(leg.region) or "the client or its credentials were not there in time",
            max(0.0, (now if leg.ended_at is None else leg.ended_at) - leg.wanted_at),
        )
        for leg in legs
    )
    return CredentialsError(
        f"secret {query} was not asked for in time: {_list(attempts)}. Give the read a longer timeout, or the "
        "credential provider less to do; `secretcache doctor` tells how long it takes",
        attempts,
    )


def _missing(query: Query, attempts: tuple[Attempt, ...], decisive: Failure | None) -> SecretCacheError:
    if query.is_current and decisive is not None and _NO_VALUE in decisive.message:
        return SecretNotFoundError(
            f"secret {query} exists, but has no value: {_list(attempts)}. "
            "Give it one with `aws secretsmanager put-secret-value`",
            attempts,
        )
    return SecretNotFoundError(
        f"no listed region has secret {query}: {_list(attempts)}. {_advice(query)}",
        attempts,
    )


def _advice(query: Query) -> str:
    if not query.is_current:
        return (
            "Check the stage or the version id: without a rotation there is no AWSPREVIOUS and no AWSPENDING. "
            "`aws secretsmanager list-secret-version-ids` tells which there are"
        )
    return (
        "Check the id, the account and, for a replica, its replication status; a partial ARN whose name ends in a "
        "hyphen and six characters must be given in full"
    )


def _deleted(query: Query, attempts: tuple[Attempt, ...], _decisive: Failure | None) -> SecretCacheError:
    return SecretNotFoundError(
        f"secret {query} is marked for deletion: {_list(attempts)}. "
        "Bring it back with `aws secretsmanager restore-secret`, or read another",
        attempts,
    )


def _denied(query: Query, attempts: tuple[Attempt, ...], decisive: Failure | None) -> SecretCacheError:
    advice = (
        "Allow secretsmanager:GetSecretValue on its ARN in every listed region, and kms:Decrypt on the key where it "
        "is encrypted with a customer key"
    )
    if decisive is not None and decisive.code == "InvalidRequestException":
        advice = _OF_THE_DEFAULT_KEY if "KMS" in decisive.message else _OF_AN_INVALID_REQUEST
    return SecretAccessDeniedError(f"access to secret {query} is refused: {_list(attempts)}. {advice}", attempts)


def _identity(query: Query, attempts: tuple[Attempt, ...], decisive: Failure | None) -> SecretCacheError:
    if decisive is not None and decisive.code == "NoCredentialsError":
        return CredentialsError(f"secret {query} could not be read: {_list(attempts)}. {_looked_in()}", attempts)
    return CredentialsError(
        f"secret {query} could not be read with these AWS credentials: {_list(attempts)}. "
        "Check them with `aws sts get-caller-identity`, and the machine's clock",
        attempts,
    )


def _looked_in() -> str:
    profile = os.environ.get("AWS_PROFILE")
    keys = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    config = os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")
    return (
        f"Looked in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, {keys} and {config} (AWS_PROFILE is "
        f"{profile if profile is not None else 'not set'}), and at the role of a web identity, a container or an "
        "instance; `aws sts get-caller-identity` looks in the same places"
    )


def _caller(query: Query, attempts: tuple[Attempt, ...], _decisive: Failure | None) -> SecretCacheError:
    return ConfigurationError(f"the request for secret {query} could not be made: {_list(attempts)}")


def _unavailable(query: Query, attempts: tuple[Attempt, ...], decisive: Failure | None) -> SecretCacheError:
    if decisive is not None and decisive.fault in OF_THE_SECRET:
        lead = next((one.region for one in attempts if one.error == str(decisive)), "a region")
        return SecretUnavailableError(
            f"secret {query} could not be read: {lead} says {decisive}, and not every other region answered: "
            f"{_list(attempts)}. Check the id and the permissions there, and why the others do not answer",
            attempts,
        )
    return SecretUnavailableError(
        f"no region could answer for secret {query}: {_list(attempts)}. "
        "Check these regions' names, the network, proxies and endpoint_urls; asking again later is safe",
        attempts,
    )


_ERRORS: dict[Fault, Callable[[Query, tuple[Attempt, ...], Failure | None], SecretCacheError]] = {
    Fault.MISSING: _missing,
    Fault.DELETED: _deleted,
    Fault.DENIED: _denied,
    Fault.IDENTITY: _identity,
    Fault.CALLER: _caller,
}
