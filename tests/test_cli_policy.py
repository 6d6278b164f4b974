"""`secretcache policy`: what its policies allow and deny, judged by a small evaluator of IAM's rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from command_line import Desk, Ended, assert_golden
from support import OSAKA, REGIONS, TOKYO, arn

ACCOUNT = "123456789012"
READ, DESCRIBE, BATCH = (
    f"secretsmanager:{name}" for name in ("GetSecretValue", "DescribeSecret", "BatchGetSecretValue")
)
DECRYPT = "kms:Decrypt"
ENDPOINTS = {OSAKA: "vpce-0aaaaaaaaaaaaaaa1", TOKYO: "vpce-0bbbbbbbbbbbbbbb2"}
KEYS = {region: f"arn:aws:kms:{region}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab" for region in REGIONS}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


# IAM's rules, as far as our policies use them: an explicit deny wins, then an allow, and without one nothing is
# allowed. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html


@dataclass(frozen=True)
class Asked:
    """One request, as IAM sees it."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def allows(policy: Mapping[str, Any], asked: Asked) -> bool:
    effects = _effects(policy, asked)
    return "Allow" in effects and "Deny" not in effects


def denies(policy: Mapping[str, Any], asked: Asked) -> bool:
    return "Deny" in _effects(policy, asked)


def _effects(policy: Mapping[str, Any], asked: Asked) -> set[str]:
    assert policy["Version"] == "2012-10-17"
    return {str(one["Effect"]) for one in policy["Statement"] if _applies(one, asked)}


def _applies(statement: Mapping[str, Any], asked: Asked) -> bool:
    assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"]), "a Sid has letters and digits only"
    return (
        any(_like(form.lower(), asked.action.lower()) for form in _list(statement["Action"]))
        and any(_like(form, asked.resource) for form in _list(statement["Resource"]))
        and all(
            _OPERATORS[operator](_list(values), asked.context.get(key))
            for operator, pairs in statement.get("Condition", {}).items()
            for key, values in pairs.items()
        )
    )


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _like(form: str, text: str) -> bool:
    pattern = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in form)
    return re.fullmatch(pattern, text) is not None


def _any_like(values: list[str], text: str | None) -> bool:
    return text is not None and any(_like(value, text) for value in values)


# A negated operator holds where the key is not in the request at all.
_OPERATORS: dict[str, Callable[[list[str], str | None], bool]] = {
    "StringEquals": lambda values, text: text in values,
    "StringNotEquals": lambda values, text: text not in values,
    "StringLike": _any_like,
    "ArnNotLike": lambda values, text: not _any_like(values, text),
}


def reading(region: str, name: str = "prod/db", suffix: str = "AbCdEf", **context: str) -> Asked:
    return Asked(READ, arn(region, name, suffix), context)


def made(ended: Ended) -> dict[str, Any]:
    assert ended.code == 0, ended.err
    policy: dict[str, Any] = ended.json
    return policy


def test_the_evaluator_itself() -> None:
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "A", "Effect": "Allow", "Action": "s:Get*", "Resource": "arn:x-??"},
            {"Sid": "B", "Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"k": "v"}}},
        ],
    }
    assert allows(policy, Asked("s:GetIt", "arn:x-12"))
    assert not allows(policy, Asked("s:GetIt", "arn:x-123"))
    assert not allows(policy, Asked("s:Put", "arn:x-12"))
    assert not allows(policy, Asked("s:GetIt", "arn:x-12", {"k": "v"}))


@pytest.mark.parametrize("region", REGIONS)
def test_it_allows_reading_in_each_region_and_nothing_else(desk: Desk, region: str) -> None:
    policy = made(desk.run("policy", "prod/db", "--account", ACCOUNT))
    asked = reading(region)
    assert allows(policy, asked)
    for other in (
        reading(region, name="prod/db-admin"),
        reading(region, name="prod/db2"),
        reading(region, name="prod/d"),
        reading("us-east-1"),
        Asked(READ, asked.resource.replace(ACCOUNT, "210987654321")),
        *(Asked(action, asked.resource) for action in (DESCRIBE, BATCH, "secretsmanager:PutSecretValue", DECRYPT)),
    ):
        assert not allows(policy, other), other


def test_the_regions_are_those_that_are_listed(desk: Desk) -> None:
    policy = made(desk.run("policy", "prod/db", "--account", ACCOUNT, "--regions", TOKYO))
    assert allows(policy, reading(TOKYO))
    assert not allows(policy, reading(OSAKA))


@pytest.mark.parametrize("region", REGIONS)
def test_a_full_arn_is_allowed_in_each_region_by_that_suffix_only(desk: Desk, region: str) -> None:
    ended = desk.run("policy", arn(TOKYO), arn(OSAKA))
    policy = made(ended)
    assert len(policy["Statement"][0]["Resource"]) == len(REGIONS), "two ARNs of one secret"
    assert allows(policy, reading(region))
    assert not allows(policy, reading(region, suffix="ZyXwVu"))
    assert ended.err == "", "an ARN tells its account"


@pytest.mark.parametrize("region", REGIONS)
def test_a_partial_arn_is_allowed_whatever_its_suffix(desk: Desk, region: str) -> None:
    policy = made(desk.run("policy", arn(TOKYO, suffix="")))
    assert allows(policy, reading(region, suffix="ZyXwVu"))
    assert not allows(policy, reading(region, name="prod/db-admin"))


def test_an_open_account_is_told(desk: Desk) -> None:
    ended = desk.run("policy", "prod/db")
    assert allows(made(ended), reading(OSAKA))
    assert "close it with --account" in ended.err


@pytest.mark.parametrize("region", REGIONS)
def test_description_and_batches_only_if_wanted(desk: Desk, region: str) -> None:
    policy = made(desk.run("policy", "prod/db", "--account", ACCOUNT, "--describe", "--batch"))
    assert allows(policy, Asked(DESCRIBE, arn(region)))
    assert allows(policy, Asked(BATCH, "*"))
    assert not allows(policy, Asked(READ, "*")), "in a batch too each secret is asked for by its own ARN"


def decrypting(region: str, key: str | None = None, **changes: str) -> Asked:
    context = {
        "kms:ViaService": f"secretsmanager.{region}.amazonaws.com",
        "kms:EncryptionContext:SecretARN": arn(region),
        **changes,
    }
    return Asked(DECRYPT, key or KEYS[region], context)


def with_keys(desk: Desk, *options: str) -> dict[str, Any]:
    keys = [word for region in REGIONS for word in ("--kms-key", f"{region}={KEYS[region]}")]
    return made(desk.run("policy", "prod/db", "--account", ACCOUNT, *keys, *options))


@pytest.mark.parametrize("region", REGIONS)
def test_a_key_opens_these_secrets_through_the_service_only(desk: Desk, region: str) -> None:
    policy = with_keys(desk)
    other = next(one for one in REGIONS if one != region)
    assert allows(policy, decrypting(region))
    assert allows(policy, decrypting(region, **{"kms:EncryptionContext:SecretARN": arn(other)}))
    for asked in (
        decrypting(region, key=KEYS[region] + "0"),
        decrypting(region, **{"kms:ViaService": "s3.amazonaws.com"}),
        decrypting(region, **{"kms:EncryptionContext:SecretARN": arn(region, "prod/other")}),
        Asked(DECRYPT, KEYS[region]),
        Asked("kms:GenerateDataKey", KEYS[region], decrypting(region).context),
    ):
        assert not allows(policy, asked), asked


def test_the_default_key_needs_no_statement(desk: Desk) -> None:
    policy = made(desk.run("policy", "prod/db", "--kms-key", f"{TOKYO}={KEYS[TOKYO]}", "--account", ACCOUNT))
    assert allows(policy, decrypting(TOKYO))
    assert not allows(policy, decrypting(OSAKA))


@pytest.mark.parametrize("region", REGIONS)
def test_endpoints_bind_a_reader(desk: Desk, region: str) -> None:
    through = [word for one in ENDPOINTS.values() for word in ("--vpce", one)]
    policy = made(desk.run("policy", "prod/db", "--account", ACCOUNT, "--batch", *through))
    assert allows(policy, reading(region, **{"aws:SourceVpce": ENDPOINTS[region]}))
    assert not allows(policy, reading(region, **{"aws:SourceVpce": "vpce-0ccccccccccccccc3"}))
    assert not allows(policy, reading(region))
    assert not allows(policy, Asked(BATCH, "*"))


ROTATION = f"arn:aws:iam::{ACCOUNT}:role/rotation"


def resource_policy(desk: Desk, *options: str) -> Ended:
    through = [word for one in ENDPOINTS.values() for word in ("--vpce", one)]
    return desk.run("policy", "prod/db", "--resource-policy", *through, *options)


@pytest.mark.parametrize("region", REGIONS)
def test_a_resource_policy_admits_the_endpoints_only_and_says_whom_it_locks_out(desk: Desk, region: str) -> None:
    ended = resource_policy(desk)
    policy = made(ended)
    assert not denies(policy, reading(region, **{"aws:SourceVpce": ENDPOINTS[region]}))
    assert denies(policy, reading(region, **{"aws:SourceVpce": "vpce-0ccccccccccccccc3"}))
    assert denies(policy, reading(region, **{"aws:PrincipalArn": ROTATION}))
    assert "the rotation function" in ended.err
    assert "in the console" in ended.err
    for action in ("PutResourcePolicy", "DeleteResourcePolicy", "DescribeSecret", "PutSecretValue", "RotateSecret"):
        asked = Asked(f"secretsmanager:{action}", arn(region))
        assert not denies(policy, asked), "whoever may change the policy can take it back"


@pytest.mark.parametrize("region", REGIONS)
def test_who_is_excepted_reads_from_anywhere(desk: Desk, region: str) -> None:
    ended = resource_policy(desk, "--exempt", ROTATION)
    policy = made(ended)
    assert not denies(policy, reading(region, **{"aws:PrincipalArn": ROTATION}))
    assert denies(policy, reading(region, **{"aws:PrincipalArn": ROTATION + "-other"}))
    assert f"locks out ({ROTATION} excepted)" in ended.err


@pytest.mark.parametrize("options", [(), ("--resource-policy",)])
def test_an_endpoint_too_few_is_told(desk: Desk, options: tuple[str, ...]) -> None:
    ended = desk.run("policy", "prod/db", *options, "--vpce", ENDPOINTS[OSAKA])
    assert "shuts a region out" in ended.err


@pytest.mark.parametrize(
    ("regions", "partition", "service"),
    [("cn-north-1,cn-northwest-1", "aws-cn", "amazonaws.com.cn"), ("us-gov-west-1", "aws-us-gov", "amazonaws.com")],
)
def test_other_partitions(desk: Desk, regions: str, partition: str, service: str) -> None:
    region = regions.partition(",")[0]
    key = f"arn:{partition}:kms:{region}:{ACCOUNT}:key/abc"
    options = ("--regions", regions, "--account", ACCOUNT, "--kms-key", f"{region}={key}")
    policy = made(desk.run("policy", "prod/db", *options))
    secret = f"arn:{partition}:secretsmanager:{region}:{ACCOUNT}:secret:prod/db-AbCdEf"
    context = {"kms:ViaService": f"secretsmanager.{region}.{service}", "kms:EncryptionContext:SecretARN": secret}
    assert allows(policy, Asked(READ, secret))
    assert allows(policy, Asked(DECRYPT, key, context))


def test_too_long_a_policy_is_told(desk: Desk) -> None:
    ended = desk.run("policy", *(f"prod/secret-number-{number}" for number in range(60)), "--account", ACCOUNT)
    assert ended.code == 0
    assert "split the secrets over several" in ended.err


def test_its_transcript(desk: Desk) -> None:
    through = [word for one in ENDPOINTS.values() for word in ("--vpce", one)]
    ended = desk.run(
        "policy",
        "prod/db",
        arn(TOKYO, "prod/api"),
        "--describe",
        "--batch",
        *through,
        "--kms-key",
        f"{TOKYO}={KEYS[TOKYO]}",
    )
    assert_golden("policy", f"{ended.out}{ended.err}")
    ended = resource_policy(desk)
    assert_golden("policy-of-resource", f"{ended.out}{ended.err}")


@pytest.mark.parametrize("columns", [20, 200])
def test_on_a_terminal_it_is_the_same_json(desk: Desk, columns: int) -> None:
    piped = made(desk.run("policy", "prod/db", "--account", ACCOUNT))
    assert json.loads(desk.run_in_terminal("policy", "prod/db", "--account", ACCOUNT, columns=columns).out) == piped


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Missing argument 'SECRET"),
        (("prod/*",), "'prod/*' is no secret's name"),
        (("a", "--account", "12"), "--account must be 12 digits, got '12'"),
        (("a", "--vpce", "vpc-1"), "--vpce must be such as vpce-0123456789abcdef0, got 'vpc-1'"),
        (("a", "--kms-key", TOKYO), "--kms-key must be REGION=ARN"),
        (("a", "--kms-key", f"eu-west-1={KEYS[TOKYO]}"), "--kms-key must be REGION=ARN, of a region in"),
        (("a", "--kms-key", f"{OSAKA}={KEYS[TOKYO]}"), f"the key of {OSAKA} must be in {OSAKA}"),
        (("a", "--kms-key", f"{TOKYO}=arn:aws:kms:{TOKYO}:{ACCOUNT}:alias/x"), "an alias does not work in a policy"),
        (("a", "--resource-policy"), "--resource-policy needs the VPC endpoints to admit: --vpce"),
        (("a", "--exempt", ROTATION), "--exempt belongs to --resource-policy"),
        (
            ("a", "--resource-policy", "--vpce", ENDPOINTS[OSAKA], "--exempt", "root"),
            "--exempt must be such as arn:aws",
        ),
        ((arn(TOKYO), "--account", "210987654321"), f"--account 210987654321: an ARN is of account {ACCOUNT}"),
        (("a", "--regions", ""), "--regions"),
    ],
)
def test_what_was_asked_wrongly_is_told(desk: Desk, arguments: tuple[str, ...], told: str) -> None:
    ended = desk.run("policy", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
