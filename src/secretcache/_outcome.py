"""From a verdict to the error its reader gets.

A new one for each reader, with every attempt in it and what to do next.
"""

from __future__ import annotations

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
from secretcache._transport import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from secretcache._ids import Query
    from secretcache._regions.route import Leg, Verdict
    from secretcache._secret import Secret

__all__ = ["error_for", "made_again", "remembered"]


def error_for(query: Query, verdict: Verdict, now: float, host: Callable[[str], str]) -> SecretCacheError:
    """The error of a read that ends without a value, its cause in place."""
    decisive = verdict.decisive
    attempts = tuple(_told(leg, now, host(leg.region)) for leg in verdict.legs)
    attempts += tuple(Attempt(region, host(region), str(why), 0.0) for region, why in verdict.unasked)
    if verdict.fault is Fault.CALLER:  # told by one region; a hedge may be under way in another
        attempts = tuple(_told(leg, now, host(leg.region)) for leg in verdict.legs if leg.failure is decisive)
    error = _ERRORS.get(verdict.fault, _unavailable)(query, attempts)
    if isinstance(error, SecretUnavailableError):
        error.retry_after = verdict.retry_after
    error.__cause__ = decisive.cause if decisive else None
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
    return "; ".join(map(str, attempts)) or "no region was asked before the deadline"


def _missing(query: Query, attempts: tuple[Attempt, ...]) -> SecretCacheError:
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


def _deleted(query: Query, attempts: tuple[Attempt, ...]) -> SecretCacheError:
    return SecretNotFoundError(
        f"secret {query} is marked for deletion: {_list(attempts)}. "
        "Bring it back with `aws secretsmanager restore-secret`, or read another",
        attempts,
    )


def _denied(query: Query, attempts: tuple[Attempt, ...]) -> SecretCacheError:
    return SecretAccessDeniedError(
        f"access to secret {query} is refused: {_list(attempts)}. "
        "Allow secretsmanager:GetSecretValue on its ARN in every listed region, and kms:Decrypt on the key where it "
        "is encrypted with a customer key",
        attempts,
    )


def _identity(query: Query, attempts: tuple[Attempt, ...]) -> SecretCacheError:
    return CredentialsError(
        f"secret {query} could not be read with these AWS credentials: {_list(attempts)}. "
        "Check them with `aws sts get-caller-identity`, and the machine's clock",
        attempts,
    )


def _caller(query: Query, attempts: tuple[Attempt, ...]) -> SecretCacheError:
    return ConfigurationError(f"the request for secret {query} could not be made: {_list(attempts)}")


def _unavailable(query: Query, attempts: tuple[Attempt, ...]) -> SecretCacheError:
    return SecretUnavailableError(
        f"no region could answer for secret {query}: {_list(attempts)}. "
        "Check these regions' names, the network, proxies and endpoint_urls; asking again later is safe",
        attempts,
    )


_ERRORS: dict[Fault, Callable[[Query, tuple[Attempt, ...]], SecretCacheError]] = {
    Fault.MISSING: _missing,
    Fault.DELETED: _deleted,
    Fault.DENIED: _denied,
    Fault.IDENTITY: _identity,
    Fault.CALLER: _caller,
}
