"""`secretcache policy`: the least IAM policy that reads the secrets in every listed region. Sends nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secretcache._cli.common import Regions, environment, exits, note, say_json, settings_of
from secretcache._errors import ConfigurationError
from secretcache._ids import SecretId, parse_secret_id, partition_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Wanted", "add", "identity_policy", "resource_policy"]

_VERSION = "2012-10-17"
_ANY_SUFFIX = "-??????"
"""Six characters that the service puts behind a secret's name in its ARN: `-*` would admit `prod/db-admin-…` too."""
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}\Z")
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}\Z")
_ACCOUNT = re.compile(r"[0-9]{12}\Z")
_ENDPOINT = re.compile(r"vpce-[0-9a-f]{8,17}\Z")
_KEY = re.compile(r"arn:(?P<partition>[a-z-]+):kms:(?P<region>[a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+\Z")
_PRINCIPAL = re.compile(r"arn:[a-z-]+:(iam|sts)::[0-9]{12}:[a-z-]+/\S+\Z")
_LONGEST = 6144
"""Characters of a managed policy, white space not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the policy is to allow."""

    secrets: tuple[SecretId, ...]
    regions: tuple[str, ...]
    account: str = "*"
    keys: Mapping[str, str]
    endpoints: tuple[str, ...] = ()
    exempt: tuple[str, ...] = ()
    describe: bool = False
    batch: bool = False


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(help="Writes the least IAM policy for reading in all listed regions. Needs no AWS account.")(policy)


def policy(  # noqa: PLR0913 - each an option of its own
    secrets: Annotated[list[str], typer.Argument(metavar="SECRET", help="Names or ARNs.")],
    *,
    regions: Regions = None,
    account: Annotated[
        str | None, typer.Option("--account", metavar="ID", help="The account of secrets given by name: 12 digits.")
    ] = None,
    kms_key: Annotated[
        list[str] | None,
        typer.Option("--kms-key", metavar="REGION=ARN", help="A customer key; the AWS managed key needs no statement."),
    ] = None,
    vpce: Annotated[
        list[str] | None, typer.Option("--vpce", metavar="ID", help="Only through this VPC endpoint; repeatable.")
    ] = None,
    as_resource: Annotated[
        bool, typer.Option("--resource-policy", help="The policy of the secrets instead: nobody else's endpoints.")
    ] = False,
    exempt: Annotated[
        list[str] | None,
        typer.Option("--exempt", metavar="ROLE_ARN", help="With --resource-policy: who may read from elsewhere too."),
    ] = None,
    describe: Annotated[bool, typer.Option("--describe", help="Allow DescribeSecret too, as the doctor uses.")] = False,
    batch: Annotated[bool, typer.Option("--batch", help="Allow BatchGetSecretValue too, as prefetch uses.")] = False,
) -> None:
    """Writes one policy."""
    with exits():
        listed = settings_of(environment(regions))["regions"]
        wanted = Wanted(
            secrets=tuple(dict.fromkeys(_secret(text, listed) for text in secrets)),
            regions=listed,
            account=_account(account),
            keys=dict(_key(text, listed) for text in kms_key or ()),
            endpoints=tuple(
                _matching("--vpce", _ENDPOINT, "such as vpce-0123456789abcdef0", text) for text in vpce or ()
            ),
            exempt=tuple(
                _matching("--exempt", _PRINCIPAL, "such as arn:aws:iam::123456789012:role/rotation", text)
                for text in exempt or ()
            ),
            describe=describe,
            batch=batch,
        )
        _check_together(wanted, as_resource=as_resource)
        made = resource_policy(wanted) if as_resource else identity_policy(wanted)
        say_json(made)
        for line in _notes(wanted, made, as_resource=as_resource):
            note(line)


# Reading the options.


def _secret(text: str, regions: Sequence[str]) -> SecretId:
    secret = parse_secret_id(text, regions)
    if not _NAME.match(secret.name):
        raise ConfigurationError(f"{text!r} is no secret's name: letters, digits and /_+=.@- only, no wildcards")
    return secret


def _account(text: str | None) -> str:
    if text is None:
        return "*"
    return _matching("--account", _ACCOUNT, "12 digits", text)


def _matching(option: str, form: re.Pattern[str], wanted: str, text: str) -> str:
    if not form.match(text):
        raise ConfigurationError(f"{option} must be {wanted}, got {text!r}")
    return text


def _key(text: str, regions: Sequence[str]) -> tuple[str, str]:
    region, _, arn = text.partition("=")
    found = _KEY.match(arn)
    if region not in regions or found is None:
        raise ConfigurationError(
            f"--kms-key must be REGION=ARN, of a region in {', '.join(regions)} and the ARN of a key "
            f"(arn:aws:kms:{regions[0]}:123456789012:key/…; an alias does not work in a policy), got {text!r}"
        )
    if found["region"] != region or found["partition"] != partition_of(region):
        raise ConfigurationError(f"--kms-key: the key of {region} must be in {region}, got {arn}")
    return region, arn


def _check_together(wanted: Wanted, *, as_resource: bool) -> None:
    if as_resource and not wanted.endpoints:
        raise ConfigurationError("--resource-policy needs the VPC endpoints to admit: --vpce vpce-… (one a region)")
    if wanted.exempt and not as_resource:
        raise ConfigurationError("--exempt belongs to --resource-policy")
    given = {secret.account for secret in wanted.secrets if secret.account}
    if wanted.account != "*" and given - {wanted.account}:
        raise ConfigurationError(f"--account {wanted.account}: an ARN is of account {', '.join(sorted(given))}")


# Writing the policy.


def identity_policy(wanted: Wanted) -> dict[str, Any]:
    """What a reader's role or user needs."""
    statements = [_reading(wanted)]
    if wanted.batch:
        # The action knows no resources; each secret in it is still checked against GetSecretValue.
        statements.append(_allow("BatchReads", ["secretsmanager:BatchGetSecretValue"], ["*"], _through(wanted)))
    statements += _decrypting(wanted)
    return {"Version": _VERSION, "Statement": statements}


def _reading(wanted: Wanted) -> dict[str, Any]:
    actions = ["secretsmanager:GetSecretValue", *(["secretsmanager:DescribeSecret"] if wanted.describe else [])]
    resources = [_arn(wanted, secret, region) for secret in wanted.secrets for region in wanted.regions]
    return _allow("ReadSecretsInEachRegion", actions, resources, _through(wanted))


def _arn(wanted: Wanted, secret: SecretId, region: str) -> str:
    complete = secret.is_arn and _SUFFIX.search(secret.name)
    name = secret.name if complete else secret.name + _ANY_SUFFIX
    partition = partition_of(wanted.regions[0])
    return secret._replace(name=name, account=secret.account or wanted.account, partition=partition).in_region(region)


def _through(wanted: Wanted) -> dict[str, Any]:
    return {"StringEquals": {"aws:SourceVpce": list(wanted.endpoints)}} if wanted.endpoints else {}


def _decrypting(wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Of each region's own key, for these secrets and through Secrets Manager only."""
    for region, arn in wanted.keys.items():
        # The secret's ARN in any region: whether a replica is encrypted under its own or the primary's is not told.
        of_secrets = [_arn(wanted, secret, "*") for secret in wanted.secrets]
        condition = {
            "StringEquals": {"kms:ViaService": f"secretsmanager.{region}.{_suffix(region)}"},
            "StringLike": {"kms:EncryptionContext:SecretARN": of_secrets},
        }
        yield _allow(f"DecryptIn{_words(region)}", ["kms:Decrypt"], [arn], condition)


def _suffix(region: str) -> str:
    return "amazonaws.com.cn" if partition_of(region) == "aws-cn" else "amazonaws.com"


def _words(region: str) -> str:
    return "".join(part.capitalize() for part in region.split("-"))  # a Sid has letters and digits only


def _allow(sid: str, actions: list[str], resources: list[str], condition: Mapping[str, Any]) -> dict[str, Any]:
    statement: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return {**statement, "Condition": dict(condition)} if condition else statement


def resource_policy(wanted: Wanted) -> dict[str, Any]:
    """What each secret says itself: no value to anybody who does not come through these endpoints.

    It denies GetSecretValue alone, so that whoever may change the policy can take it back from anywhere.
    """
    condition: dict[str, Any] = {"StringNotEquals": {"aws:SourceVpce": list(wanted.endpoints)}}
    if wanted.exempt:
        condition["ArnNotLike"] = {"aws:PrincipalArn": list(wanted.exempt)}
    deny = {
        "Sid": "ValuesOnlyThroughTheseVpcEndpoints",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "secretsmanager:GetSecretValue",
        "Resource": "*",
        "Condition": condition,
    }
    return {"Version": _VERSION, "Statement": [deny]}


def _notes(wanted: Wanted, made: Mapping[str, Any], *, as_resource: bool) -> Iterator[str]:
    if as_resource:
        yield from _lockouts(wanted)
    if 0 < len(wanted.endpoints) < len(wanted.regions):
        yield (
            f"a VPC endpoint belongs to one region: {len(wanted.endpoints)} of them for {len(wanted.regions)} regions "
            "shuts a region out; give --vpce once for each"
        )
    if not as_resource and wanted.account == "*" and not all(secret.is_arn for secret in wanted.secrets):
        yield "the account is left open (*) for secrets given by name: close it with --account"
    if len(re.sub(r"\s", "", json.dumps(made))) > _LONGEST:
        yield f"longer than the {_LONGEST} characters of a managed policy: split the secrets over several"


def _lockouts(wanted: Wanted) -> Iterator[str]:
    admitted = f"{', '.join(wanted.exempt)} excepted" if wanted.exempt else "nobody excepted"
    yield (
        f"locks out ({admitted}) whoever does not come through {', '.join(wanted.endpoints)}: the rotation function, "
        "unless it runs in that VPC, and 'Retrieve secret value' in the console. Except roles with --exempt ROLE_ARN"
    )
    yield "it is replicated with its secret: one policy holds in all regions"
