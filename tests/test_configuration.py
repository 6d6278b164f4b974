"""The configuration of the real world, each over real sockets: endpoints, proxies, certificates, credentials."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import ContainerMetadataFetcher

from local_aws import Asked, Authority, ForwardProxy, LocalAws, Said
from secretcache import CredentialsError, SecretCache
from secretcache._ids import Query, SecretId
from secretcache._settings import Settings
from secretcache._transport import Call, DescribeCall, Failure, Fault, Reply
from secretcache._transport._botocore import BotocoreTransport
from support import OSAKA, REGIONS, TOKYO, InThread, arn

QUERY = Query(SecretId("prod/db"))
HOST = "secretsmanager.{}.amazonaws.com"
STS_ERROR = "<ErrorResponse><Error><Code>{}</Code><Message>no</Message></Error></ErrorResponse>"
ROLE = """
[profile base]
[profile role]
role_arn = arn:aws:iam::123456789012:role/reader
source_profile = base
"""


class Machine:
    """What this process finds on its machine: files and variables."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.set = folder, monkeypatch.setenv
        for name in os.environ:
            if name.startswith(("SECRETCACHE_", "AWS_", "BOTO")) or name.lower().endswith(("_proxy", "_ca_bundle")):
                monkeypatch.delenv(name)
        self.set("HOME", str(folder))
        self.set("AWS_CONFIG_FILE", str(folder / "config"))
        self.set("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))
        self.set("AWS_EC2_METADATA_DISABLED", "true")
        self.set("AWS_MAX_ATTEMPTS", "1")
        self.unset = monkeypatch.delenv

    def keys(self, key: str = "KEY") -> None:
        self.set("AWS_ACCESS_KEY_ID", key)
        self.set("AWS_SECRET_ACCESS_KEY", "s")

    def credentials(self, **profiles: str) -> None:
        parts = (f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = s\n" for name, key in profiles.items())
        (self.folder / "credentials").write_text("".join(parts))

    def config(self, text: str) -> None:
        (self.folder / "config").write_text(text)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with LocalAws() as local:
        yield local


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def tls(authority: Authority) -> Iterator[LocalAws]:
    """AWS's own hosts, as far as the certificate goes."""
    stars = (f"*.{region}.{domain}" for region in (*REGIONS, "us-east-1") for domain in ("amazonaws.com", "api.aws"))
    with LocalAws(authority.server("127.0.0.1", *stars)) as local:
        yield local


@pytest.fixture
def make() -> Iterator[Callable[..., BotocoreTransport]]:
    made = []

    def new(regions: tuple[str, ...] = REGIONS, **options: Any) -> BotocoreTransport:
        made.append(BotocoreTransport(Settings(regions=regions, **options)))
        return made[-1]

    yield new
    for transport in made:
        transport.close()


Make = Callable[..., BotocoreTransport]


def ask(transport: BotocoreTransport, region: str) -> Reply:
    return transport.send(Call(region, QUERY))


def signed_by(transport: BotocoreTransport, region: str) -> str:
    """The access key that the request was signed with: the local server's every secret is that."""
    reply = ask(transport, region)
    assert not isinstance(reply, Failure), reply
    assert reply["ARN"] == arn(region)
    return str(reply["SecretString"])


def refused(reply: Reply | None) -> Failure:
    assert isinstance(reply, Failure)
    return reply


# Endpoints


def test_each_region_has_its_own_endpoint(machine: Machine, aws: LocalAws, make: Make) -> None:
    machine.keys()
    with LocalAws() as other:
        transport = make(endpoint_urls={OSAKA: aws.url(), TOKYO: other.url("localhost")})
        assert [signed_by(transport, region) for region in REGIONS] == ["KEY", "KEY"]
        assert aws.asked == [Asked("GetSecretValue", "127.0.0.1", OSAKA, "KEY")]
        assert other.asked == [Asked("GetSecretValue", "localhost", TOKYO, "KEY")]
        assert (transport.host(OSAKA), transport.host(TOKYO)) == ("127.0.0.1", "localhost")


def test_a_region_describes_a_secret(machine: Machine, aws: LocalAws, make: Make) -> None:
    machine.keys()
    transport = make(endpoint_urls={OSAKA: aws.url()})
    reply = transport.send(DescribeCall(OSAKA, Query(SecretId("prod/db-AbCdEf", "123456789012", "aws"))))
    assert not isinstance(reply, Failure)
    assert reply["Name"] == arn(OSAKA), "it was asked by the region's own ARN"
    assert [one.operation for one in aws.asked] == ["DescribeSecret"]


@pytest.mark.parametrize(
    ("region", "options", "host"),
    [
        (OSAKA, {}, HOST.format(OSAKA)),
        ("us-east-1", {"use_fips_endpoint": True}, HOST.format("us-east-1").replace(".us", "-fips.us")),
        (OSAKA, {"use_dualstack_endpoint": True}, None),
    ],
)
def test_the_host_told_is_the_one_that_is_asked(  # noqa: PLR0917 - fixtures and parameters
    machine: Machine, tls: LocalAws, authority: Authority, make: Make, region: str, options: Any, host: str | None
) -> None:
    machine.keys()
    machine.set("AWS_CA_BUNDLE", str(authority.bundle))
    with ForwardProxy(tls.port) as proxy:
        machine.set("HTTPS_PROXY", proxy.url)
        transport = make((region,), client_config=Config(**options))
        assert signed_by(transport, region) == "KEY"
        assert proxy.hosts == [transport.host(region)]
        # botocore's client tells another host for dual-stack than its rules then choose: a failure there must not
        # be taken for another service's.
        assert host in (None, transport.host(region))
        transport.reload()
        proxy.refuses[proxy.hosts[0]] = 502
        assert refused(ask(transport, region)).fault is Fault.REGION


def test_a_dual_stack_host_that_is_down_is_the_regions_fault(machine: Machine, make: Make) -> None:
    machine.keys()
    machine.set("HTTPS_PROXY", "http://127.0.0.1:9")
    machine.set("AWS_USE_DUALSTACK_ENDPOINT", "true")
    assert refused(ask(make(), OSAKA)).fault is Fault.REGION


def test_a_fips_host_that_does_not_exist_is_never_asked(machine: Machine, make: Make) -> None:
    machine.keys()
    machine.config("[default]\nuse_fips_endpoint = true\n")
    transport = make(("us-east-1", OSAKA))
    failure = refused(transport.prepare(OSAKA))
    assert (failure.fault, failure.code) == (Fault.NOT_OFFERED, "NoFipsEndpoint")
    assert transport.prepare("us-east-1") is None


# Proxies


def test_no_proxy_is_for_the_region_whose_host_it_names(machine: Machine, aws: LocalAws, make: Make) -> None:
    machine.keys()
    with ForwardProxy(aws.port) as proxy:
        machine.set("HTTP_PROXY", proxy.url)
        machine.set("NO_PROXY", "localhost")
        transport = make(endpoint_urls={OSAKA: "http://osaka.internal", TOKYO: aws.url("localhost")})
        assert [signed_by(transport, region) for region in REGIONS] == ["KEY", "KEY"]
        assert proxy.hosts == ["osaka.internal"]


@pytest.mark.parametrize("way", ["client_config", "session_factory"])
def test_a_proxy_of_a_regions_own(machine: Machine, aws: LocalAws, make: Make, way: str) -> None:
    machine.keys()
    urls = {OSAKA: "http://osaka.internal", TOKYO: "http://tokyo.internal"}
    with ForwardProxy(aws.port) as first, ForwardProxy(aws.port) as second:
        configs = {OSAKA: Config(proxies={"http": first.url}), TOKYO: Config(proxies={"http": second.url})}

        def factory(region: str) -> Session:
            session = Session()
            session.set_default_client_config(configs[region])
            return session

        options: dict[str, Any] = {"client_config": configs} if way == "client_config" else {"session_factory": factory}
        transport = make(endpoint_urls=urls, **options)
        assert [signed_by(transport, region) for region in REGIONS] == ["KEY", "KEY"]
        assert (first.hosts, second.hosts) == (["osaka.internal"], ["tokyo.internal"])
        second.refuses["tokyo.internal"] = 407
        transport.reload()
        failure = refused(ask(transport, TOKYO))
        assert (failure.fault, failure.code, failure.answered) == (Fault.REGION, "407", False)
        assert signed_by(transport, OSAKA) == "KEY"


@pytest.mark.parametrize("status", [407, 502])
def test_a_proxy_that_lets_nobody_through_is_a_region_fault(machine: Machine, make: Make, status: int) -> None:
    machine.keys()
    with ForwardProxy(9) as proxy:
        machine.set("HTTPS_PROXY", proxy.url)
        proxy.refuses[HOST.format(OSAKA)] = status
        failure = refused(ask(make(), OSAKA))
        assert (failure.fault, failure.code) == (Fault.REGION, "ProxyConnectionError")
        assert proxy.hosts == [HOST.format(OSAKA)]


def test_a_proxy_that_is_not_there_is_a_region_fault(machine: Machine, make: Make) -> None:
    machine.keys()
    machine.set("HTTPS_PROXY", "http://127.0.0.1:9")
    assert refused(ask(make(), OSAKA)).fault is Fault.REGION


# Certificates


@pytest.mark.parametrize("way", ["variable", "profile", "session"])
def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    machine: Machine, tls: LocalAws, authority: Authority, make: Make, way: str
) -> None:
    machine.keys()
    transport = make(endpoint_urls={OSAKA: tls.url()})
    failure = refused(ask(transport, OSAKA))
    assert (failure.fault, failure.code) == (Fault.REGION, "SSLError")
    options = {}
    if way == "variable":
        machine.set("AWS_CA_BUNDLE", str(authority.bundle))
    elif way == "profile":
        machine.config(f"[default]\nca_bundle = {authority.bundle}\n")
    else:

        def factory(_: str) -> Session:
            session = Session()
            session.set_config_variable("ca_bundle", str(authority.bundle))
            return session

        options["session_factory"] = factory
    transport = make(endpoint_urls={OSAKA: tls.url(), TOKYO: tls.url("localhost")}, **options)
    assert signed_by(transport, OSAKA) == "KEY"
    assert refused(ask(transport, TOKYO)).code == "SSLError", "the certificate is not of that host"


# Credentials


def test_long_lived_keys_of_the_environment_come_before_those_of_the_file(
    machine: Machine, aws: LocalAws, make: Make
) -> None:
    machine.credentials(default="FILE", other="OTHER")
    transport = make(endpoint_urls={OSAKA: aws.url()})
    assert signed_by(transport, OSAKA) == "FILE"
    machine.set("AWS_PROFILE", "other")
    transport.reload()
    assert signed_by(transport, OSAKA) == "OTHER"
    machine.unset("AWS_PROFILE")
    machine.keys("ENVIRONMENT")
    transport.reload()
    assert signed_by(transport, OSAKA) == "ENVIRONMENT"


def test_each_region_may_have_a_profile_of_its_own(machine: Machine, aws: LocalAws, make: Make) -> None:
    machine.credentials(osaka="O", tokyo="T")
    profiles = {OSAKA: "osaka", TOKYO: "tokyo"}
    transport = make(
        endpoint_urls=dict.fromkeys(REGIONS, aws.url()),
        session_factory=lambda region: Session(profile=profiles[region]),
    )
    assert [signed_by(transport, region) for region in REGIONS] == ["O", "T"]


def test_a_container_has_its_credentials_from_its_host(
    machine: Machine, aws: LocalAws, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 0)
    machine.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", aws.url() + "/credentials")
    transport = make(endpoint_urls={OSAKA: aws.url()})
    assert transport.prepare(OSAKA) is None
    assert signed_by(transport, OSAKA) == "CONTAINER"
    assert [one.operation for one in aws.asked] == ["credentials", "GetSecretValue"]
    aws.container_key = "NEXT"
    transport.reload()
    assert signed_by(transport, OSAKA) == "NEXT"
    aws.says = lambda asked: Said(400, "no") if asked.operation == "credentials" else None
    transport.reload()
    assert refused(ask(transport, OSAKA)).fault is Fault.IDENTITY
    assert refused(transport.prepare(OSAKA)).fault is Fault.IDENTITY


def test_without_credentials_it_is_identity_until_there_are_some(machine: Machine, aws: LocalAws, make: Make) -> None:
    transport = make(endpoint_urls={OSAKA: aws.url()})
    failure = refused(ask(transport, OSAKA))
    assert (failure.fault, failure.code) == (Fault.IDENTITY, "NoCredentialsError")
    machine.credentials(default="FILE")
    transport.reload()
    assert signed_by(transport, OSAKA) == "FILE"


@pytest.mark.parametrize("text", ["[default", "[default]\naws_access_key_id = HALF\n"])
def test_a_credentials_file_that_is_half_written_is_identity(
    machine: Machine, aws: LocalAws, make: Make, text: str
) -> None:
    (machine.folder / "credentials").write_text(text)
    transport = make(endpoint_urls={OSAKA: aws.url()})
    assert refused(transport.prepare(OSAKA)).fault is Fault.IDENTITY
    machine.credentials(default="FILE")
    transport.reload()
    assert signed_by(transport, OSAKA) == "FILE"


def test_a_profile_that_does_not_exist_is_identity(machine: Machine, make: Make) -> None:
    machine.set("AWS_PROFILE", "nobody")
    transport = make()
    failure = refused(transport.prepare(OSAKA))
    assert (failure.fault, failure.code) == (Fault.IDENTITY, "ProfileNotFound")
    assert refused(ask(transport, OSAKA)).code == failure.code


@pytest.fixture
def role(machine: Machine, aws: LocalAws) -> None:
    machine.credentials(base="BASE")
    machine.config(ROLE)
    machine.set("AWS_PROFILE", "role")
    machine.set("AWS_ENDPOINT_URL_STS", aws.url("localhost"))


@pytest.mark.usefixtures("role")
def test_each_region_assumes_the_role_at_its_own_sts(aws: LocalAws, make: Make) -> None:
    transport = make(endpoint_urls=dict.fromkeys(REGIONS, aws.url()))
    assert [transport.prepare(region) for region in REGIONS] == [None, None]
    assert [(one.region, one.key) for one in aws.of("AssumeRole")] == [(OSAKA, "BASE"), (TOKYO, "BASE")]
    assert not aws.of("GetSecretValue")
    assert [signed_by(transport, region) for region in REGIONS] == [f"ROLE-{OSAKA}", f"ROLE-{TOKYO}"]
    assert len(aws.of("AssumeRole")) == 2, "prepared is prepared"


@pytest.mark.usefixtures("role")
def test_one_regions_sts_that_fails_is_no_matter_of_the_others(aws: LocalAws, make: Make) -> None:
    def says(asked: Asked) -> Said | None:
        fails = (asked.operation, asked.region) == ("AssumeRole", OSAKA)
        return Said(503, STS_ERROR.format("ServiceUnavailable")) if fails else None

    aws.says = says
    transport = make(endpoint_urls=dict.fromkeys(REGIONS, aws.url()))
    failure = refused(ask(transport, OSAKA))
    assert (failure.fault, failure.code, failure.answered) == (Fault.IDENTITY, "ServiceUnavailable", False)
    assert refused(transport.prepare(OSAKA)).fault is Fault.IDENTITY
    assert signed_by(transport, TOKYO) == f"ROLE-{TOKYO}"
    aws.says = lambda _: None
    assert signed_by(transport, OSAKA) == f"ROLE-{OSAKA}"


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize(
    ("said", "revoked"),
    [
        (Said(403, STS_ERROR.format("AccessDenied")), False),
        (Said(400, STS_ERROR.format("Throttling")), False),
        (Said(403, STS_ERROR.format("InvalidClientTokenId")), True),
        (Said(503, "<html>busy</html>"), False),
        (Said(200, "<html>a captive portal</html>"), False),
        (Said(200, ""), False),
    ],
)
def test_whatever_sts_says_is_identity(aws: LocalAws, make: Make, said: Said, revoked: bool) -> None:  # noqa: FBT001
    aws.says = lambda asked: said if asked.operation == "AssumeRole" else None
    failure = refused(ask(make(endpoint_urls={OSAKA: aws.url()}), OSAKA))
    assert (failure.fault, failure.answered, failure.revoked) == (Fault.IDENTITY, False, revoked)
    assert not aws.of("GetSecretValue")


@pytest.mark.usefixtures("role")
def test_sts_at_the_secrets_managers_own_address_is_identity_too(machine: Machine, make: Make) -> None:
    machine.set("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    transport = make(endpoint_urls={OSAKA: "http://127.0.0.1:9"})
    assert refused(ask(transport, OSAKA)).fault is Fault.IDENTITY
    machine.keys()
    machine.unset("AWS_PROFILE")
    transport.reload()
    assert refused(ask(transport, OSAKA)).fault is Fault.REGION


@pytest.mark.usefixtures("role")
def test_a_proxy_or_a_certificate_on_the_way_to_sts_is_identity(
    machine: Machine, tls: LocalAws, authority: Authority, make: Make
) -> None:
    machine.unset("AWS_ENDPOINT_URL_STS")
    with ForwardProxy(tls.port) as proxy:
        machine.set("HTTPS_PROXY", proxy.url)
        transport = make()
        assert refused(ask(transport, OSAKA)).fault is Fault.IDENTITY
        assert proxy.hosts == [f"sts.{OSAKA}.amazonaws.com"]
        machine.set("AWS_CA_BUNDLE", str(authority.bundle))
        proxy.refuses[f"sts.{OSAKA}.amazonaws.com"] = 502
        transport.reload()
        failure = refused(ask(transport, OSAKA))
        assert (failure.fault, failure.code) == (Fault.IDENTITY, "ProxyConnectionError")
        assert signed_by(transport, TOKYO) == f"ROLE-{TOKYO}"


# Loading anew


def test_a_reload_asks_the_session_factory_again(machine: Machine, aws: LocalAws, make: Make) -> None:
    made: list[str] = []

    def factory(region: str) -> Session:
        made.append(region)
        session = Session()
        session.set_credentials(f"KEY{len(made)}", "s")
        return session

    transport = make(endpoint_urls=dict.fromkeys(REGIONS, aws.url()), session_factory=factory)
    assert [signed_by(transport, region) for region in (OSAKA, OSAKA, TOKYO)] == ["KEY1", "KEY1", "KEY2"]
    transport.reload()
    assert made == [OSAKA, TOKYO], "nothing is made before it is needed"
    assert [signed_by(transport, region) for region in (TOKYO, OSAKA)] == ["KEY3", "KEY4"]
    assert made == [OSAKA, TOKYO, TOKYO, OSAKA]


def test_a_reload_reads_the_credentials_file_anew_and_only_then(machine: Machine, aws: LocalAws, make: Make) -> None:
    machine.credentials(default="OLD")
    transport = make(endpoint_urls={OSAKA: aws.url()})
    assert signed_by(transport, OSAKA) == "OLD"
    machine.credentials(default="NEW")
    assert signed_by(transport, OSAKA) == "OLD"
    transport.reload()
    assert signed_by(transport, OSAKA) == "NEW"


def test_a_reload_harms_no_request_under_way_and_closes_what_is_idle(
    machine: Machine, aws: LocalAws, make: Make
) -> None:
    machine.credentials(default="OLD")
    transport = make(endpoint_urls={OSAKA: aws.url()})
    here, go_on = threading.Event(), threading.Event()

    def says(_: Asked) -> None:
        if not here.is_set():
            here.set()
            assert go_on.wait(10)

    aws.says = says
    under_way = InThread(lambda: signed_by(transport, OSAKA))
    assert here.wait(10)
    assert signed_by(transport, OSAKA) == "OLD"
    aws.until_connections(2)
    machine.credentials(default="NEW")
    transport.reload()
    assert signed_by(transport, OSAKA) == "NEW"
    go_on.set()
    assert under_way.result() == "OLD"
    aws.until_connections(1)
    transport.close()
    aws.until_connections(0)


def test_a_request_that_has_a_pool_but_no_connection_yet_survives_a_reload(
    machine: Machine, aws: LocalAws, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.credentials(default="OLD")
    here, go_on = threading.Event(), threading.Event()
    between = URLLib3Session._setup_ssl_cert  # type: ignore[attr-defined]

    def hold(*arguments: Any) -> None:
        between(*arguments)
        here.set()
        assert go_on.wait(10)

    monkeypatch.setattr(URLLib3Session, "_setup_ssl_cert", hold)
    transport = make(endpoint_urls={OSAKA: aws.url()})
    under_way = InThread(lambda: signed_by(transport, OSAKA))
    assert here.wait(10)
    transport.reload()
    go_on.set()
    assert under_way.result() == "OLD"
    aws.until_connections(0)


def test_reloads_and_requests_at_one_time(machine: Machine, aws: LocalAws, make: Make) -> None:
    machine.keys()
    transport = make(endpoint_urls=dict.fromkeys(REGIONS, aws.url()))
    readers = [
        InThread(lambda region=region: [signed_by(transport, region) for _ in range(15)])  # type: ignore[misc]
        for region in REGIONS * 2
    ]
    for _ in range(5):
        transport.reload()
    assert [reader.result() for reader in readers] == [["KEY"] * 15] * 4
    transport.close()
    aws.until_connections(0)


def test_a_client_that_a_reload_overtakes_while_it_is_made_is_not_used(
    machine: Machine, aws: LocalAws, make: Make
) -> None:
    here, go_on = threading.Event(), threading.Event()
    keys = iter(["OVERTAKEN", "NEW"])

    def factory(_: str) -> Session:
        session = Session()
        session.set_credentials(next(keys), "s")
        if not here.is_set():
            here.set()
            assert go_on.wait(10)
        return session

    transport = make(endpoint_urls={OSAKA: aws.url()}, session_factory=factory)
    reader = InThread(lambda: signed_by(transport, OSAKA))
    assert here.wait(10)
    transport.reload()
    go_on.set()
    assert reader.result() == "NEW"


def test_what_is_closed_sends_and_makes_nothing(machine: Machine, aws: LocalAws, make: Make) -> None:
    machine.keys()
    transport = make(endpoint_urls={OSAKA: aws.url()})
    assert signed_by(transport, OSAKA) == "KEY"
    transport.close()
    assert (refused(ask(transport, OSAKA)).fault, refused(transport.prepare(OSAKA)).code) == (Fault.LOCAL, "Closed")
    aws.until_connections(0)
    assert len(aws.asked) == 1


def test_one_session_for_two_regions(machine: Machine, aws: LocalAws, make: Make) -> None:
    machine.keys()
    session = Session()
    transport = make(endpoint_urls=dict.fromkeys(REGIONS, aws.url()), session_factory=lambda _: session)
    readers = [InThread(lambda region=region: signed_by(transport, region)) for region in REGIONS]  # type: ignore[misc]
    assert [reader.result() for reader in readers] == ["KEY", "KEY"]
    assert {one.region for one in aws.asked} == set(REGIONS)
    transport.reload()
    assert [signed_by(transport, region) for region in REGIONS] == ["KEY", "KEY"]


def test_a_session_factory_that_asks_a_service_by_itself_is_identity_when_that_fails(make: Make) -> None:
    def factory(_: str) -> Session:
        raise ConnectionRefusedError("the vault is not there")

    failure = refused(make(session_factory=factory).prepare(OSAKA))
    assert (failure.fault, failure.code) == (Fault.IDENTITY, "ConnectionRefusedError")


def test_a_reader_is_told_that_it_is_the_credentials(machine: Machine, aws: LocalAws) -> None:
    machine.set("AWS_PROFILE", "nobody")
    with (
        SecretCache(list(REGIONS), endpoint_urls=dict.fromkeys(REGIONS, aws.url())) as cache,
        pytest.raises(CredentialsError, match=r"ProfileNotFound.*nobody"),
    ):
        cache.get("prod/db")
