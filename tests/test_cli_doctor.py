"""`secretcache doctor` finds each planted fault, by its name, in its region, with what mends it."""

from __future__ import annotations

import io
import json
import logging
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from command_line import CANARY, Desk, Ended, assert_golden
from local_aws import ForwardProxy
from secretcache._cli.doctor.findings import findings_of
from secretcache._cli.doctor.sight import Examination, RegionSight, SecretSight, region_in
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Refuse, Silent
from secretcache._demo.proxy import FaultProxy
from secretcache._ids import SecretId
from secretcache._settings import Settings
from support import OSAKA, PATIENCE, REGIONS, TOKYO, arn
from two_regions import NEW, OLD, TwoRegions, refusal

HOST = "secretsmanager.{}.amazonaws.com"
PRIVATE, PUBLIC = "10.0.7.11", "52.119.1.1"
RESOLVE = "secretcache._cli.doctor.surroundings.resolve"
ROLE = """
[profile base]
[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = base
"""
REPLICATE = (
    f"aws secretsmanager replicate-secret-to-regions --region {TOKYO} --secret-id prod/db "
    f"--add-replica-regions Region={OSAKA}"
)


@pytest.fixture
def aws() -> Iterator[TwoRegions]:
    with TwoRegions() as regions:
        yield regions


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], aws: TwoRegions) -> Desk:
    desk = Desk(tmp_path, monkeypatch, capsys)
    desk.endpoints(aws.urls, sts=aws.urls[TOKYO])
    monkeypatch.setattr("secretcache._cli.doctor.checks._SECONDS", 120.0)
    monkeypatch.setattr("secretcache._cli.doctor.rules_of_regions._SLOW", 60.0)
    return desk


def diagnosis(desk: Desk, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    ended = desk.run("doctor", "prod/db", "--json", *arguments)
    told = ended.json
    assert told["exit_code"] == ended.code
    for finding in told["findings"]:
        assert finding["mend"], "each finding says what mends it"
        assert "\n" not in finding["mend"]
    return ended.code, told["findings"]


def only(findings: list[dict[str, Any]], *, notes: bool = False) -> dict[str, Any]:
    (finding,) = [one for one in findings if notes or one["severity"] != "note"]
    return finding


def test_nothing_is_wrong(desk: Desk) -> None:
    assert diagnosis(desk) == (0, [])


# Each fault that the doctor is there for.


def test_a_replica_is_missing(desk: Desk, aws: TwoRegions) -> None:
    aws.plant(OSAKA, "GetSecretValue", refusal("ResourceNotFoundException"))
    aws.plant(OSAKA, "DescribeSecret", refusal("ResourceNotFoundException"))
    aws.replicas = {}
    code, findings = diagnosis(desk)
    assert (code, only(findings)["code"], only(findings)["region"]) == (2, "replica-missing", OSAKA)
    assert only(findings)["mend"] == REPLICATE


def test_a_replication_that_failed_is_quoted_where_the_replica_is_missing(desk: Desk, aws: TwoRegions) -> None:
    aws.plant(OSAKA, "GetSecretValue", refusal("ResourceNotFoundException"))
    aws.replicas[TOKYO] = [{"Region": OSAKA, "Status": "Failed", "StatusMessage": "a secret of that name exists"}]
    _, findings = diagnosis(desk)
    assert "replication Failed: a secret of that name exists" in only(findings)["what"]


def test_a_replica_is_out_of_sync(desk: Desk, aws: TwoRegions) -> None:
    aws.versions[OSAKA] = OLD
    aws.replicas[TOKYO] = [{"Region": OSAKA, "Status": "Failed", "StatusMessage": "no access to the key"}]
    code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"], found["region"], found["severity"]) == (2, "out-of-sync", OSAKA, "failure")
    assert found["mend"] == f"{REPLICATE} --force-overwrite-replica-secret"
    for word in (OLD, "AWSPREVIOUS", "3 h after", "replication Failed: no access to the key"):
        assert word in found["what"]


def test_a_replica_that_fails_with_the_right_version_still_is(desk: Desk, aws: TwoRegions) -> None:
    aws.replicas[TOKYO] = [{"Region": OSAKA, "Status": "Failed", "StatusMessage": "no"}]
    code, findings = diagnosis(desk)
    assert (code, only(findings)["code"]) == (2, "out-of-sync")


def test_a_replica_that_is_a_moment_behind_is_a_warning(desk: Desk, aws: TwoRegions) -> None:
    aws.versions[OSAKA] = OLD
    aws.created[TOKYO] = datetime.now(timezone.utc) - timedelta(seconds=20)
    aws.replicas[TOKYO] = [{"Region": OSAKA, "Status": "InProgress"}]
    code, findings = diagnosis(desk)
    assert (code, only(findings)["code"], only(findings)["severity"]) == (1, "behind", "warning")


def test_how_far_behind_is_told(desk: Desk, aws: TwoRegions) -> None:
    aws.versions[OSAKA] = OLD
    told = desk.run("doctor", "prod/db", "--json").json
    assert told["versions_agree"] == {"prod/db": False}
    assert told["behind_seconds"]["prod/db"][TOKYO] is None
    assert 3 * 3600 <= told["behind_seconds"]["prod/db"][OSAKA] < 3 * 3600 + 300
    assert "3 h behind" in desk.run("doctor", "prod/db").out


def promoted(aws: TwoRegions) -> None:
    aws.primaries = {OSAKA: None, TOKYO: None}
    aws.replicas = {}
    aws.created[OSAKA] = datetime.now(timezone.utc) - timedelta(days=9)


def test_a_replica_was_promoted_and_has_diverged(desk: Desk, aws: TwoRegions) -> None:
    promoted(aws)
    aws.versions[OSAKA] = OLD
    code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"], found["region"]) == (2, "diverged", OSAKA)
    assert found["mend"] == f"{REPLICATE} --force-overwrite-replica-secret"
    assert "overwrites" in found["what"]


def test_the_value_that_was_written_last_is_kept_unless_the_primary_is_known(desk: Desk, aws: TwoRegions) -> None:
    promoted(aws)
    aws.versions[TOKYO] = OLD
    aws.created = {OSAKA: aws.created[TOKYO], TOKYO: aws.created[OSAKA]}
    _, findings = diagnosis(desk)
    assert only(findings)["region"] == TOKYO
    desk.set(SECRETCACHE_PRIMARY_REGION=TOKYO)
    _, findings = diagnosis(desk)
    assert only(findings)["region"] == OSAKA


def test_a_replica_was_promoted_and_has_not_diverged_yet(desk: Desk, aws: TwoRegions) -> None:
    promoted(aws)
    code, findings = diagnosis(desk)
    assert (code, only(findings)["code"], only(findings)["severity"]) == (1, "not-replicated", "warning")


@pytest.mark.parametrize("region", REGIONS)
def test_access_is_denied_in_one_region(desk: Desk, aws: TwoRegions, region: str) -> None:
    aws.plant(region, "GetSecretValue", refusal("AccessDeniedException", "User: u is not authorized to perform: it"))
    code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"], found["region"]) == (2, "denied", region)
    assert json.loads(found["mend"]) == {
        "Effect": "Allow",
        "Action": "secretsmanager:GetSecretValue",
        "Resource": arn(region),
    }


def test_the_key_refuses(desk: Desk, aws: TwoRegions) -> None:
    aws.keys[OSAKA] = f"arn:aws:kms:{OSAKA}:123456789012:key/abc"
    aws.plant(OSAKA, "GetSecretValue", refusal("AccessDeniedException", "Access to KMS is not allowed"))
    code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"], found["region"]) == (2, "kms-denied", OSAKA)
    assert json.loads(found["mend"]) == {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": aws.keys[OSAKA]}


def test_a_key_that_is_disabled_is_to_be_enabled(desk: Desk, aws: TwoRegions) -> None:
    aws.keys[OSAKA] = "key/abc"
    aws.plant(OSAKA, "GetSecretValue", refusal("DecryptionFailure", "the key is disabled"))
    _, findings = diagnosis(desk)
    assert only(findings)["mend"] == f"aws kms enable-key --region {OSAKA} --key-id key/abc"


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        ("*", refusal("InvalidSignatureException", "Credential should be scoped to a valid region.")),
        ("GetSecretValue", None),
    ],
    ids=["it refuses the signature", "it answers for its own region"],
)
def test_the_endpoint_is_another_regions(desk: Desk, aws: TwoRegions, operation: str, said: Any) -> None:
    other = aws._value(TOKYO)
    aws.plant(OSAKA, operation, said or refusal("")._replace(status=200, body=json.dumps(other)))
    code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"], found["region"]) == (2, "foreign-endpoint", OSAKA)
    assert found["mend"] == f"export SECRETCACHE_ENDPOINT_URLS={OSAKA}=https://{HOST.format(OSAKA)}"


def test_the_name_of_an_endpoint_tells_its_region() -> None:
    vpce = "https://vpce-0a1-b2.secretsmanager.{}.vpce.amazonaws.com"
    seen = sights(
        RegionSight(region=OSAKA, endpoint=vpce.format(TOKYO), latency_seconds=0.1),
        RegionSight(region=TOKYO, endpoint=f"https://{HOST.format(TOKYO)}", latency_seconds=0.1),
    )
    (found,) = findings_of(seen)
    assert (found.code, found.region) == ("foreign-endpoint", OSAKA)
    assert region_in("sts.amazonaws.com") == "us-east-1"
    assert region_in("secretsmanager-fips.us-gov-west-1.amazonaws.com") == "us-gov-west-1"
    assert region_in("proxy.example.com") is None


def test_a_slow_region_is_noted() -> None:
    fast = RegionSight(region=TOKYO, latency_seconds=0.01)
    (found,) = findings_of(sights(RegionSight(region=OSAKA, latency_seconds=0.7), fast))
    assert (found.code, found.severity, found.mend) == ("slow", "note", f"export SECRETCACHE_REGIONS={TOKYO},{OSAKA}")


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("primary", [None, TOKYO])
def test_two_secrets_under_one_name_are_found_ahead_of_time(primary: str | None, *, described: bool) -> None:
    def sight(region: str, suffix: str) -> RegionSight:
        own = SecretSight(arn=arn(region, "prod/db", suffix), version_id=f"v-{suffix}", described=described)
        return RegionSight(region=region, latency_seconds=0.01, secrets={"prod/db": own})

    those = {OSAKA: sight(OSAKA, "AAAAAA"), TOKYO: sight(TOKYO, "BBBBBB")}
    settings = Settings(regions=(OSAKA, TOKYO), primary_region=primary)
    seen = Examination(settings, {"prod/db": SecretId("prod/db")}, those, datetime.now(timezone.utc))
    found = [one for one in findings_of(seen) if one.severity != "note"]
    assert [one.code for one in found] == ["another-secret"]
    assert found[0].region == (OSAKA if primary else TOKYO)
    assert "prod/db-AAAAAA" in found[0].what
    assert "prod/db-BBBBBB" in found[0].what
    assert "--force-overwrite-replica-secret" in found[0].mend


def test_credentials_of_two_accounts_are_warned_of() -> None:
    seen = sights(RegionSight(region=OSAKA, account="1" * 12), RegionSight(region=TOKYO, account="2" * 12))
    assert [one.code for one in findings_of(seen)] == ["two-accounts"]


def test_one_identity_host_for_all_regions_is_warned_of() -> None:
    hosts = ("sts.internal",)
    seen = sights(*(RegionSight(region=region, identity_hosts=hosts) for region in REGIONS))
    (found,) = findings_of(seen)
    assert (found.code, found.severity) == ("sts-pinned", "warning")
    assert "one host for all regions" in found.what


def test_ways_that_regions_share_are_told(desk: Desk, aws: TwoRegions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RESOLVE, lambda *_: (PUBLIC,))
    code, findings = diagnosis(desk)
    assert (code, only(findings)["code"]) == (1, "one-address")
    assert f"{OSAKA}, {TOKYO} are reached at one address, {PUBLIC}" in only(findings)["what"]
    proxied = [RegionSight(region=region, proxy="http://proxy:3128", latency_seconds=0.1) for region in REGIONS]
    assert [(one.code, one.severity) for one in findings_of(sights(*proxied))] == [("one-proxy", "note")]


def test_a_private_address_behind_a_proxy_is_warned_of() -> None:
    private = RegionSight(
        region=OSAKA,
        endpoint=f"https://{HOST.format(OSAKA)}",
        addresses=(PRIVATE,),
        address_kind="private",
        proxy="http://proxy:3128",
        latency_seconds=0.01,
    )
    tokyo = RegionSight(region=TOKYO, addresses=("10.1.0.1",), address_kind="private", latency_seconds=0.01)
    found = findings_of(sights(private, tokyo))
    assert [(one.code, one.mend) for one in found] == [("proxy", f"export NO_PROXY={HOST.format(OSAKA)}")]


def sights(*those: RegionSight) -> Examination:
    regions = tuple(one.region for one in those)
    by_region = {one.region: one for one in those}
    return Examination(Settings(regions=regions), {}, by_region, datetime.now(timezone.utc))


def test_private_dns_is_missing_in_one_region(desk: Desk, aws: TwoRegions, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = {aws.servers[TOKYO].port: (PRIVATE,)}
    monkeypatch.setattr(RESOLVE, lambda _host, port: ports.get(port, (PUBLIC,)))
    code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"], found["region"]) == (1, "private-dns-missing", OSAKA)
    with FaultProxy(("127.0.0.1", aws.servers[OSAKA].port)) as osaka:
        osaka.set_fault(Refuse())
        desk.endpoints({OSAKA: osaka.url, TOKYO: aws.urls[TOKYO]}, sts=aws.urls[TOKYO])
        code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"], found["region"]) == (2, "private-dns-missing", OSAKA)
    assert f"public address {PUBLIC}" in found["what"]
    assert found["mend"].startswith(
        f"export SECRETCACHE_ENDPOINT_URLS={OSAKA}=https://VPCE-ID.secretsmanager.{OSAKA}.vpce"
    )


def test_a_host_without_an_address(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        desk.endpoints({OSAKA: f"http://127.0.0.1:{unused.getsockname()[1]}"})

        def resolve(*_: object) -> tuple[str, ...]:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(RESOLVE, resolve)
        code, findings = diagnosis(desk, "--regions", OSAKA)
    assert code == 2
    assert findings[0]["code"] == "no-address"
    assert "Name or service not known" in findings[0]["what"]


def test_a_region_refuses_connections(desk: Desk, aws: TwoRegions) -> None:
    with FaultProxy(("127.0.0.1", aws.servers[OSAKA].port)) as osaka:
        osaka.set_fault(Refuse())
        desk.endpoints({OSAKA: osaka.url, TOKYO: aws.urls[TOKYO]})
        code, findings = diagnosis(desk)
    assert (code, only(findings)["code"], only(findings)["region"]) == (2, "unreachable", OSAKA)


def test_a_silent_region_is_left(desk: Desk, aws: TwoRegions, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultProxy(("127.0.0.1", aws.servers[OSAKA].port)) as osaka:
        osaka.set_fault(Silent())
        desk.endpoints({OSAKA: osaka.url, TOKYO: aws.urls[TOKYO]}, sts=aws.urls[TOKYO])
        monkeypatch.setattr("secretcache._transport._sessions.READ_SECONDS", 1)
        code, findings = diagnosis(desk)
        assert len(osaka.requests) == 1, "what is silent is not asked again"
    assert (code, only(findings)["code"]) == (2, "unreachable")
    assert "Read timeout" in only(findings)["what"]


def test_a_region_that_comes_to_no_end_is_left(desk: Desk, aws: TwoRegions, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.plant(TOKYO, "GetSecretValue", refusal("ResourceNotFoundException"))
    with FaultProxy(("127.0.0.1", aws.servers[OSAKA].port)) as osaka:
        osaka.set_fault(Silent())
        desk.endpoints({OSAKA: osaka.url, TOKYO: aws.urls[TOKYO]}, sts=aws.urls[TOKYO])
        monkeypatch.setattr("secretcache._cli.doctor.checks._SECONDS", 0.0)
        monkeypatch.setattr("secretcache._cli.doctor.checks._SECONDS_A_SECRET", 0.1)
        code, findings = diagnosis(desk)
        left = [thread for thread in threading.enumerate() if thread.name.startswith("doctor-")]
        osaka.heal()
        for thread in left:
            thread.join(PATIENCE)
    assert code == 2
    assert "Unfinished" in next(one for one in findings if one["region"] == OSAKA)["what"]


def test_an_error_of_its_own_is_told_without_its_text(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> tuple[str, ...]:
        raise ZeroDivisionError(CANARY)

    monkeypatch.setattr(RESOLVE, resolve)
    code, findings = diagnosis(desk)
    assert (code, {one["code"] for one in findings}) == (2, {"local"})
    assert "ZeroDivisionError: an error of the doctor's own" in findings[0]["what"]


def test_a_proxy_is_in_the_way_of_one_region(desk: Desk, aws: TwoRegions) -> None:
    with ForwardProxy(aws.servers[TOKYO].port) as proxy:
        proxy.refuses[HOST.format(OSAKA)] = 403
        desk.endpoints({region: f"http://{HOST.format(region)}" for region in REGIONS}, sts=aws.urls[TOKYO])
        desk.set(HTTP_PROXY=proxy.url.replace("//", "//user:hush@"), NO_PROXY="10.0.0.1,127.0.0.1")
        ended = desk.run("doctor", "prod/db", "--json")
    found = only(ended.json["findings"])
    assert (ended.code, found["code"], found["region"]) == (2, "proxy", OSAKA)
    assert found["mend"] == f"export NO_PROXY=10.0.0.1,127.0.0.1,{HOST.format(OSAKA)}"
    assert "hush" not in ended.out
    assert ended.json["regions"][TOKYO]["proxy"] == proxy.url.replace("//", "//***@")


def test_a_proxy_that_wants_a_password_is_given_one_and_not_avoided(desk: Desk, aws: TwoRegions) -> None:
    with ForwardProxy(aws.servers[TOKYO].port) as proxy:
        proxy.refuses[HOST.format(OSAKA)] = 407
        desk.endpoints({region: f"http://{HOST.format(region)}" for region in REGIONS}, sts=aws.urls[TOKYO])
        desk.set(HTTP_PROXY=proxy.url.replace("//", "//user:hush@"), NO_PROXY="127.0.0.1")
        ended = desk.run("doctor", "prod/db", "--json")
    found = only(ended.json["findings"])
    assert found["mend"] == f"export HTTP_PROXY={proxy.url.replace('//', '//USER:PASSWORD@')}"
    assert "hush" not in ended.out


def test_sts_is_pinned_to_another_region(desk: Desk, aws: TwoRegions) -> None:
    with_role(desk)
    code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"], found["region"]) == (1, "sts-pinned", OSAKA)
    assert f"in {TOKYO}" in found["what"]
    assert found["mend"] == "unset AWS_ENDPOINT_URL_STS"
    assert len(aws.servers[TOKYO].of("AssumeRole")) == len(REGIONS)


def with_role(desk: Desk) -> None:
    (desk.folder / "config").write_text(ROLE)
    (desk.folder / "credentials").write_text("[base]\naws_access_key_id = KEY\naws_secret_access_key = s\n")
    desk.unset("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    desk.set(AWS_PROFILE="role")


def test_sts_is_pinned_to_the_dead_region(desk: Desk, aws: TwoRegions) -> None:
    with_role(desk)
    with FaultProxy(("127.0.0.1", aws.servers[TOKYO].port)) as tokyo:
        tokyo.set_fault(Refuse())
        desk.endpoints({OSAKA: aws.urls[OSAKA], TOKYO: tokyo.url}, sts=tokyo.url)
        code, findings = diagnosis(desk)
    assert code == 2
    osaka = [one for one in findings if one["region"] == OSAKA]
    assert [(one["code"], one["severity"]) for one in osaka] == [("sts-pinned", "failure")]
    assert "which failed" in osaka[0]["what"]


@pytest.mark.parametrize(("minutes", "code"), [(10, 2), (-10, 2), (1, 1), (0, 0)])
def test_the_clock_is_wrong(desk: Desk, aws: TwoRegions, minutes: int, code: int) -> None:
    aws.clock_ahead = timedelta(minutes=minutes)
    found, findings = diagnosis(desk)
    assert found == code
    assert [one["code"] for one in findings] == ["clock"] * bool(minutes)
    if minutes:
        assert ("behind" if minutes > 0 else "ahead of") in findings[0]["what"]


def test_the_service_says_that_the_clock_is_wrong(desk: Desk, aws: TwoRegions) -> None:
    late = refusal("InvalidSignatureException", "Signature expired: 20261126T100000Z is now earlier than …")
    for region in REGIONS:
        aws.plant(region, "*", late)
    aws.clock_ahead = timedelta(minutes=20)
    code, findings = diagnosis(desk)
    assert (code, only(findings)["code"]) == (2, "clock")
    assert "s behind" in only(findings)["what"]


def test_two_regions_have_one_endpoint(desk: Desk, aws: TwoRegions) -> None:
    desk.unset("SECRETCACHE_ENDPOINT_URLS")
    desk.set(AWS_ENDPOINT_URL_SECRETS_MANAGER=aws.urls[TOKYO])
    code, findings = diagnosis(desk)
    found = only(findings)
    assert (code, found["code"]) == (2, "one-endpoint")
    assert found["mend"] == "unset AWS_ENDPOINT_URL_SECRETS_MANAGER"
    desk.unset("AWS_ENDPOINT_URL_SECRETS_MANAGER")
    desk.endpoints(dict.fromkeys(REGIONS, aws.urls[TOKYO]))
    ended = desk.run("doctor", "prod/db", "--json")
    assert only(ended.json["findings"])["mend"].startswith(f"export SECRETCACHE_ENDPOINT_URLS={OSAKA}=https://")
    assert ended.json["outages"][0]["served_by"] is None


# What else may be wrong.


def test_a_secret_that_is_nowhere(desk: Desk, aws: TwoRegions) -> None:
    for region in REGIONS:
        aws.plant(region, "*", refusal("ResourceNotFoundException"))
    code, findings = diagnosis(desk)
    assert (code, [one["code"] for one in findings]) == (2, ["missing", "missing"])


def test_a_secret_that_is_marked_for_deletion(desk: Desk, aws: TwoRegions) -> None:
    aws.plant(TOKYO, "GetSecretValue", refusal("InvalidRequestException", "marked for deletion"))
    code, findings = diagnosis(desk)
    assert (code, only(findings)["mend"]) == (
        2,
        f"aws secretsmanager restore-secret --region {TOKYO} --secret-id prod/db",
    )


def test_without_describe_and_batch_it_does_what_it_can(desk: Desk, aws: TwoRegions) -> None:
    for region in REGIONS:
        for operation in ("DescribeSecret", "BatchGetSecretValue"):
            aws.plant(region, operation, refusal("AccessDeniedException"))
    code, findings = diagnosis(desk)
    assert (code, [one["code"] for one in findings]) == (0, ["no-describe"] * 2 + ["no-batch"] * 2)
    aws.versions[OSAKA] = OLD
    code, findings = diagnosis(desk)
    assert (code, only(findings)["code"]) == (1, "versions-differ")


@pytest.mark.parametrize(
    ("said", "name", "code"),
    [
        (refusal("ThrottlingException"), "throttled", 1),
        (refusal("OptInRequired"), "region-disabled", 2),
        (refusal("UnrecognizedClientException"), "credentials", 2),
        (refusal("ValidationException"), "malformed", 2),
        (refusal("")._replace(status=200, body="<html>"), "unreachable", 2),
    ],
)
def test_other_answers(desk: Desk, aws: TwoRegions, said: Any, name: str, code: int) -> None:
    aws.plant(OSAKA, "GetSecretValue", said)
    found, findings = diagnosis(desk)
    assert (found, findings[0]["code"], findings[0]["region"]) == (code, name, OSAKA)


def test_no_credentials(desk: Desk) -> None:
    desk.unset("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    code, findings = diagnosis(desk)
    assert (code, [one["code"] for one in findings]) == (2, ["credentials", "credentials"])
    assert findings[0]["mend"] == "aws configure"


def test_a_profile_that_is_not_there(desk: Desk) -> None:
    desk.set(AWS_PROFILE="nobody")
    code, findings = diagnosis(desk)
    assert code == 2
    assert {one["code"] for one in findings} == {"credentials"}


def test_one_region_and_an_unlisted_primary(desk: Desk, aws: TwoRegions) -> None:
    desk.set(SECRETCACHE_ENDPOINT_URLS=f"{OSAKA}={aws.urls[OSAKA]}")
    code, findings = diagnosis(desk, "--regions", OSAKA)
    assert (code, [one["code"] for one in findings]) == (1, ["one-region", "primary-not-listed"])


def test_findings_come_by_severity(desk: Desk, aws: TwoRegions) -> None:
    aws.plant(OSAKA, "BatchGetSecretValue", refusal("AccessDeniedException"))
    aws.plant(TOKYO, "GetSecretValue", refusal("AccessDeniedException"))
    aws.clock_ahead = timedelta(minutes=1)
    code, findings = diagnosis(desk)
    assert (code, [one["severity"] for one in findings]) == (2, ["failure", "warning", "note"])


# What would happen if each region failed.


def outages(desk: Desk) -> dict[str, tuple[str | None, str]]:
    told = desk.run("doctor", "prod/db", "--json").json["outages"]
    return {one["region"]: (one["served_by"], one["then"]) for one in told}


def test_each_region_stands_in_for_the_other(desk: Desk) -> None:
    told = outages(desk)
    assert told[OSAKA] == (TOKYO, f"{TOKYO} answers")
    assert told[TOKYO][0] == OSAKA
    assert "nothing rotates" in told[TOKYO][1]


def test_who_is_denied_stands_in_for_nobody(desk: Desk, aws: TwoRegions) -> None:
    aws.plant(TOKYO, "GetSecretValue", refusal("AccessDeniedException"))
    told = outages(desk)
    assert told[OSAKA][0] is None
    assert f"NOT READABLE: {TOKYO}: AccessDeniedException; cached values stand in for up to 24 h" in told[OSAKA][1]


def test_who_is_behind_and_who_depends_on_the_dead_says_so(desk: Desk, aws: TwoRegions) -> None:
    with_role(desk)
    aws.versions[OSAKA] = OLD
    served_by, then = outages(desk)[TOKYO]
    assert served_by == OSAKA
    assert "3 h behind" in then
    assert "until its credentials expire" in then


# How it is shown.


def test_its_transcript_of_a_healthy_pair(desk: Desk, manager: EmbeddedSecretsManager, aws: TwoRegions) -> None:
    manager.create("prod/db", json.dumps({"password": CANARY}))
    desk.endpoints(manager.endpoint_urls, sts=aws.urls[TOKYO])
    assert_golden("doctor-healthy", desk.run("doctor", "prod/db").transcript)


def test_its_transcript_of_a_sick_one(desk: Desk, aws: TwoRegions) -> None:
    aws.versions[OSAKA] = OLD
    aws.replicas[TOKYO] = [{"Region": OSAKA, "Status": "Failed", "StatusMessage": "no access to the key"}]
    aws.plant(OSAKA, "BatchGetSecretValue", refusal("AccessDeniedException"))
    aws.clock_ahead = timedelta(minutes=1, seconds=0.5)
    assert_golden("doctor-sick", desk.run("doctor", "prod/db").transcript)


@pytest.mark.parametrize("columns", [30, 50, 80, 160])
def test_a_terminal_of_any_width(desk: Desk, aws: TwoRegions, columns: int) -> None:
    aws.plant(OSAKA, "GetSecretValue", refusal("AccessDeniedException"))
    ended = desk.run_in_terminal("doctor", "prod/db", columns=columns)
    assert ended.code == 2
    assert max(map(len, ended.out.splitlines())) <= columns
    for region in REGIONS:
        assert region in ended.out


def test_it_logs_no_value_and_asks_as_little_as_it_can(desk: Desk, aws: TwoRegions) -> None:
    with_role(desk)
    written, root = io.StringIO(), logging.getLogger()
    handler, before = logging.StreamHandler(written), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        ended: Ended = desk.run("doctor", "prod/db", "--json")
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
    assert "GetSecretValue" in written.getvalue()
    assert CANARY not in written.getvalue()
    assert "<SecretAccessKey>" not in written.getvalue()
    assert ended.json["cost"]["calls_made"] == 6
    assert {operation: len(aws.asked(operation)) for operation in ("GetSecretValue", "DescribeSecret")} == {
        "GetSecretValue": 2,
        "DescribeSecret": 2,
    }
    assert ended.json["regions"][OSAKA]["secrets"]["prod/db"]["version_id"] == NEW


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Missing argument 'SECRET"),
        (("prod/db", "--regions", ""), "--regions"),
        (("arn:aws:s3:::b",), "is not a Secrets Manager ARN"),
        (("prod/db", "--endpoint-urls", f"{OSAKA}=ftp://x"), "must be an http:// or https:// URL"),
    ],
)
def test_what_was_asked_wrongly_is_told(desk: Desk, arguments: tuple[str, ...], told: str) -> None:
    ended = desk.run("doctor", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_credentials_that_take_long_are_told(desk: Desk, aws: TwoRegions) -> None:
    slow = RegionSight(region=OSAKA, credentials="custom-process", credentials_seconds=3.2, latency_seconds=0.1)
    found = [one for one in findings_of(sights(slow)) if one.code == "slow-credentials"]
    assert [(one.severity, one.region) for one in found] == [("warning", OSAKA)]
    assert "took 3.2 s to load (custom-process)" in found[0].what
    quick = RegionSight(region=OSAKA, credentials="custom-process", credentials_seconds=0.9, latency_seconds=0.1)
    assert not [one for one in findings_of(sights(quick)) if one.code == "slow-credentials"]
