"""What an id means in each region."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secretcache import ConfigurationError
from secretcache._ids import SecretId, parse_secret_id, partition_of

PARTITIONS = {
    "aws": ("ap-northeast-3", "ap-northeast-1", "us-east-1", "mx-central-1"),
    "aws-cn": ("cn-north-1", "cn-northwest-1"),
    "aws-us-gov": ("us-gov-west-1", "us-gov-east-1"),
    "aws-iso": ("us-iso-east-1", "us-iso-west-1"),
    "aws-iso-b": ("us-isob-east-1", "us-isob-west-1"),
    "aws-iso-e": ("eu-isoe-west-1", "eu-isoe-west-2"),
    "aws-iso-f": ("us-isof-south-1", "us-isof-east-1"),
    "aws-eusc": ("eusc-de-east-1", "eusc-de-west-1"),
}
accounts = st.from_regex(r"[0-9]{12}", fullmatch=True)
suffixes = st.from_regex(r"[A-Za-z0-9]{6}", fullmatch=True)
names = st.one_of(
    st.from_regex(r"[A-Za-z0-9/_+=.@-]{1,60}", fullmatch=True),
    st.sampled_from(
        ["a-AbCdEf", "ap-northeast-3", "x:y", "arn:aws", "日本/パスワード", "-", "secret", "a/b-AbCdEf-AbCdEf"]
    ),
)
places = st.sampled_from(list(PARTITIONS.items()))


@given(places, accounts, names, suffixes)
def test_rewriting_there_and_back_is_the_identity(
    place: tuple[str, tuple[str, ...]], account: str, name: str, suffix: str
) -> None:
    partition, regions = place
    for region in regions:
        arn = f"arn:{partition}:secretsmanager:{region}:{account}:secret:{name}-{suffix}"
        parsed = parse_secret_id(arn, regions)
        assert parsed.in_region(region) == arn
        for other in regions:
            there = parsed.in_region(other)
            assert there == f"arn:{partition}:secretsmanager:{other}:{account}:secret:{name}-{suffix}"
            assert parse_secret_id(there, regions) == parsed


@given(names.filter(lambda name: not name.startswith("arn:")))
def test_a_name_is_the_same_everywhere(name: str) -> None:
    parsed = parse_secret_id(name, ("ap-northeast-3",))
    assert parsed == SecretId(name)
    assert parsed.in_region("ap-northeast-3") == name == parsed.in_region("us-east-1")


@given(places, accounts, names, suffixes)
def test_a_partial_arn_is_answered_by_its_full_one_only(
    place: tuple[str, tuple[str, ...]], account: str, name: str, suffix: str
) -> None:
    full = SecretId(f"{name}-{suffix}", account, place[0])
    assert full.names(full)
    assert SecretId(name, account, place[0]).names(full)
    assert not SecretId(name + "x", account, place[0]).names(full)
    assert not SecretId(name, "0" * 11, place[0]).names(full)


@pytest.mark.parametrize(("partition", "regions"), PARTITIONS.items())
def test_partitions(partition: str, regions: tuple[str, ...]) -> None:
    assert {partition_of(region) for region in regions} == {partition}


ARN = "arn:aws:secretsmanager:ap-northeast-1:123456789012:secret:prod/db-AbCdEf"


@pytest.mark.parametrize(
    ("given_id", "expected"),
    [
        (None, "got NoneType"),
        (b"prod/db", "got bytes"),
        ("", "1 to 2048 characters, got 0"),
        ("   ", "1 to 2048 characters"),
        ("x" * 2049, "got 2049"),
        ("arn:", "is not a Secrets Manager ARN"),
        ("arn:aws:secretsmanager:ap-northeast-1:123456789012:prod/db", "is not a Secrets Manager ARN"),
        (ARN.replace("secretsmanager", "ssm"), "is not a Secrets Manager ARN"),
        (ARN.replace("123456789012", ""), "is not a Secrets Manager ARN"),
        (ARN.replace("123456789012", "1234"), "has '1234' for an account: expected twelve digits"),
        (ARN.replace("123456789012", "1234567890123"), "has '1234567890123' for an account"),
        (ARN.replace(":secret:", ":policy:"), "is not a Secrets Manager ARN"),
        (ARN.replace("prod/db-AbCdEf", ""), "is not a Secrets Manager ARN"),
        (ARN.replace("-1:", "-2:"), r"is of region 'ap-northeast-2', which is not listed.*add that region"),
        (ARN.replace("aws:", "aws-cn:"), r"is of partition 'aws-cn', but ap-northeast-1 is in 'aws'"),
    ],
)
def test_a_malformed_id_is_refused_by_name(given_id: object, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^secret_id.*{expected}"):
        parse_secret_id(given_id, ("ap-northeast-3", "ap-northeast-1"))


@given(st.text())
def test_any_text_is_an_id_or_refused_by_name(text: str) -> None:
    try:
        parsed = parse_secret_id(text, ("ap-northeast-3",))
    except ConfigurationError as error:
        assert str(error).startswith("secret_id")  # noqa: PT017 - either is right, and each is checked
    else:
        assert parsed.in_region("ap-northeast-3") == text
