"""Which answer is one, and which may replace the value held. Pure: no time is read and nothing is kept here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from secretcache._errors import ConfigurationError
from secretcache._ids import CURRENT, SecretId, parse_secret_id
from secretcache._secret import Lifetime, Secret
from secretcache._transport import BatchCall, Call, Failure, Fault, Reply

if TYPE_CHECKING:
    from secretcache._ids import Query

__all__ = ["answered_id", "is_of", "read_answer", "read_batch"]

_CURRENT_ONLY = (CURRENT,)


def read_answer(call: Call, reply: Reply, requested_at: float, lifetime: Lifetime) -> Secret | Failure:
    """The secret in a reply, if the reply is whole and is the secret that was asked for.

    botocore parses an empty or non-JSON body of HTTP 200 as a success `{}`, and a client shared across `fork` has
    returned another process's secret: neither may get further than this.
    """
    if isinstance(reply, Failure):
        return reply
    wrong = _what_is_wrong(call, reply)
    if wrong:
        return Failure(Fault.REGION, "InvalidAnswer", wrong)
    return Secret(
        reply["SecretString"] if "SecretString" in reply else bytes(reply["SecretBinary"]),
        arn=reply["ARN"],
        name=call.query.secret.name if call.query.secret.name == reply["Name"] else reply["Name"],
        version_id=reply["VersionId"],
        version_stages=_stages(reply),
        region=call.region,
        created_date=reply.get("CreatedDate"),
        requested_at=requested_at,
        lifetime=lifetime,
    )


def _stages(reply: Mapping[str, Any]) -> tuple[str, ...]:
    stages = tuple(reply.get("VersionStages") or ())
    return _CURRENT_ONLY if stages == _CURRENT_ONLY else stages  # one tuple for nearly all secrets


def read_batch(call: BatchCall, reply: Reply, requested_at: float, lifetime: Lifetime) -> dict[Query, Secret] | Failure:
    """The secrets in a batch's reply, by what was asked for. What it has not is to be asked for singly."""
    if isinstance(reply, Failure):
        return reply
    values = reply.get("SecretValues")
    if not isinstance(values, list):
        return Failure(Fault.REGION, "InvalidAnswer", "not a BatchGetSecretValue answer")
    named = _by_name([value for value in values if isinstance(value, Mapping)])
    found = {}
    for query in call.queries:
        about_it = named.get(query.secret.name, ())
        singly = (read_answer(Call(call.region, query), value, requested_at, lifetime) for value in about_it)
        secret = next((one for one in singly if isinstance(one, Secret)), None)
        if secret is not None:
            found[query] = secret
    return found


def _by_name(values: list[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """A batch's values by every name that may have asked for them: twenty by twenty would cost more than the call."""
    named: dict[str, list[Mapping[str, Any]]] = {}
    for value in values:
        # By its name, also for a partial ARN; and as its full ARN calls it.
        for name in (str(value.get("Name")), str(value.get("ARN")).rpartition(":")[2]):
            named.setdefault(name, []).append(value)
    return named


def _what_is_wrong(call: Call, reply: Mapping[str, Any]) -> str:
    told = reply.get("ARN"), reply.get("Name"), reply.get("VersionId")
    if not all(map(_is_text, told)):
        return "not a GetSecretValue answer: a proxy or a captive portal may have answered in the service's place"
    if malformed := _what_is_malformed(reply):
        return malformed
    if not _is_asked_secret(call, reply):
        return "the response is of another secret or region than the one asked for"
    if not _is_asked_version(call, reply):
        return "the response is of another version than the one asked for"
    return ""


def _what_is_malformed(reply: Mapping[str, Any]) -> str:
    if ("SecretString" in reply) == ("SecretBinary" in reply):
        return "the response has not exactly one of SecretString and SecretBinary"
    if not isinstance(reply.get("SecretString", ""), str):
        return "the response's SecretString is no text"
    if not isinstance(reply.get("SecretBinary", b""), (bytes, bytearray)):
        return "the response's SecretBinary is no bytes"
    if not _are_texts(reply.get("VersionStages")):
        return "the response's VersionStages are no list of texts"
    return ""


def _are_texts(stages: object) -> bool:
    return stages is None or (isinstance(stages, (list, tuple)) and all(map(_is_text, stages)))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_asked_secret(call: Call, reply: Mapping[str, Any]) -> bool:
    asked, answered = call.query.secret, answered_id(reply["ARN"], call.region)
    if answered is None:
        return False
    return asked.names(answered) if asked.is_arn else bool(asked.name == reply["Name"])


def _is_asked_version(call: Call, reply: Mapping[str, Any]) -> bool:
    query, stages = call.query, reply.get("VersionStages") or ()
    of_stage = not stages or query.stage is None or query.stage in stages
    return of_stage and query.version_id in (None, reply["VersionId"])


def is_of(query: Query, secret: Secret) -> bool:
    """Whether a secret is the one a reader asked for: its name may belong to one made again, under another ARN."""
    answered = answered_id(secret.arn, secret.region)
    return not query.secret.is_arn or (answered is not None and query.secret.names(answered))


def answered_id(arn: str, region: str) -> SecretId | None:
    """The id in an answer's ARN, or None if that is no ARN of a secret in that region."""
    try:
        parsed = parse_secret_id(arn, (region,))
    except ConfigurationError:
        return None
    return parsed if parsed.is_arn else None
