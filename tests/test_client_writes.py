"""Writes through a client: where they go, and that a read after one returns what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

import secretcache
from offline import offline
from secretcache import ConfigurationError
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Refuse
from secretcache._ids import Query, parse_secret_id
from secretcache._transport import BatchCall, Call, Failure
from secretcache._written import UpToDate, Written
from support import OSAKA, REGIONS, TOKYO, House, ManualRuntime, answer, arn

pytestmark = pytest.mark.usefixtures("steady_regions")

OLD, NEW, NEWER = (f"{number}0000000-0000-0000-0000-000000000000" for number in (1, 2, 3))
Make = Callable[..., Any]


@pytest.fixture
def make(manager: EmbeddedSecretsManager) -> Iterator[Make]:
    """Makes clients that read in Osaka first."""
    made: list[Any] = []

    def client(regions: tuple[str, ...] = REGIONS, **options: Any) -> Any:
        given = {"endpoint_urls": manager.endpoint_urls, "session_factory": manager.session, **options}
        given["endpoint_urls"] = {region: given["endpoint_urls"][region] for region in regions}
        made.append(secretcache.client(regions, **given))
        return made[-1]

    yield client
    for one in made:
        one.close()


@pytest.fixture(params=["boto3", "secretcache", "secretcache, its primary told"])
def writer(request: pytest.FixtureRequest, manager: EmbeddedSecretsManager, make: Make) -> Any:
    """A client that may write: boto3's in the primary region, or ours."""
    if request.param == "boto3":
        session = boto3.Session(botocore_session=manager.session(TOKYO))
        return session.client("secretsmanager", region_name=TOKYO, endpoint_url=manager.endpoint_urls[TOKYO])
    return make(primary_region=TOKYO if "told" in request.param else None)


@pytest.fixture
def name(manager: EmbeddedSecretsManager) -> str:
    made = f"test/{uuid4().hex}"
    manager.create(made, "v1")
    return made


def value(client: Any, name: str, stage: str = "AWSCURRENT") -> str:
    return str(client.get_secret_value(SecretId=name, VersionStage=stage)["SecretString"])


def test_put(writer: Any, name: str) -> None:
    assert value(writer, name) == "v1"
    told = writer.put_secret_value(SecretId=name, SecretString="v2")
    assert told["ARN"].startswith(f"arn:aws:secretsmanager:{TOKYO}:")
    assert writer.get_secret_value(SecretId=name)["VersionId"] == told["VersionId"]
    assert value(writer, name, "AWSPREVIOUS") == "v1"


def test_put_by_arn(writer: Any, name: str) -> None:
    tokyo_arn = writer.put_secret_value(SecretId=name, SecretString="v2")["ARN"]
    writer.put_secret_value(SecretId=tokyo_arn, SecretString="v3")
    assert value(writer, name) == "v3"


def test_update(writer: Any, name: str) -> None:
    assert value(writer, name) == "v1"
    writer.update_secret(SecretId=name, SecretString="v2")
    assert value(writer, name) == "v2"


def test_a_stage_that_moves(writer: Any, name: str) -> None:
    first = writer.get_secret_value(SecretId=name)["VersionId"]
    second = writer.put_secret_value(SecretId=name, SecretString="v2")["VersionId"]
    assert (value(writer, name), value(writer, name, "AWSPREVIOUS")) == ("v2", "v1")
    writer.update_secret_version_stage(
        SecretId=name, VersionStage="AWSCURRENT", RemoveFromVersionId=second, MoveToVersionId=first
    )
    assert (value(writer, name), value(writer, name, "AWSPREVIOUS")) == ("v1", "v2")


def test_delete_and_restore(writer: Any, manager: EmbeddedSecretsManager) -> None:
    made = f"test/{uuid4().hex}"
    manager.admin().create_secret(Name=made, SecretString="v1")
    assert value(writer, made) == "v1"
    writer.delete_secret(SecretId=made)
    with pytest.raises(ClientError):
        value(writer, made)
    writer.restore_secret(SecretId=made)
    assert value(writer, made) == "v1"


def test_create(manager: EmbeddedSecretsManager, make: Make) -> None:
    client, made = make(primary_region=TOKYO), f"test/{uuid4().hex}"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        value(client, made)
    client.create_secret(Name=made, SecretString="v1", AddReplicaRegions=[{"Region": OSAKA}])
    assert value(client, made) == "v1"
    assert manager.admin().describe_secret(SecretId=made)["Name"] == made
    with pytest.raises(client.exceptions.ResourceExistsException) as caught:
        client.create_secret(Name=made, SecretString="v1")
    assert caught.value.operation_name == "CreateSecret"


def test_a_write_whose_region_cannot_be_learned_names_the_option(make: Make) -> None:
    with pytest.raises(ConfigurationError, match="primary_region"):
        make().create_secret(Name="new", SecretString="v1")


def test_a_write_to_a_primary_that_is_not_listed(make: Make, name: str) -> None:
    listed = make((OSAKA, "eu-west-1"), endpoint_urls={OSAKA: make().meta.endpoint_url, "eu-west-1": "http://[::1]:9"})
    with pytest.raises(ConfigurationError, match=f"primary_region.*{TOKYO}.*add it to regions"):
        listed.put_secret_value(SecretId=name, SecretString="v2")


def test_a_write_while_the_regions_cannot_tell_the_primary(
    manager: EmbeddedSecretsManager, make: Make, name: str
) -> None:
    client = make()
    with Stubber(client._desk.regions.client(OSAKA)) as osaka, Stubber(client._desk.regions.client(TOKYO)) as tokyo:
        for stub in (osaka, tokyo):
            stub.add_client_error("describe_secret", "AccessDeniedException", "no DescribeSecret", 400)
        with pytest.raises(ConfigurationError, match=r"primary_region.*no DescribeSecret.*allow secretsmanager"):
            client.put_secret_value(SecretId=name, SecretString="v2")
    assert value(client, name) == "v1"


def test_a_write_to_what_is_not_there(make: Make) -> None:
    client = make()
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        client.put_secret_value(SecretId="no/such", SecretString="v1")
    assert caught.value.operation_name == "PutSecretValue"


def test_with_one_region_writes_go_there(make: Make, name: str) -> None:
    client = make((TOKYO,))
    assert value(client, name) == "v1"
    client.put_secret_value(SecretId=name, SecretString="v2")
    assert value(client, name) == "v2"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.put_secret_value(SecretId="no/such", SecretString="v1")


def test_stubbed_writes_ask_no_region(manager: EmbeddedSecretsManager, make: Make) -> None:
    client = make()
    with Stubber(client) as stub:
        stub.add_response("create_secret", {"Name": "new"}, {"Name": "new"})
        assert client.create_secret(Name="new") == {"Name": "new"}
    assert not any(proxy.requests for proxy in manager.proxies.values())


@pytest.mark.parametrize("regions", [REGIONS, (TOKYO,)])
def test_a_write_nobody_knows_of_is_asked_for(
    manager: EmbeddedSecretsManager, make: Make, name: str, regions: tuple[str, ...]
) -> None:
    client = make(regions, primary_region=TOKYO, client_config=Config(retries={"total_max_attempts": 1}))
    assert value(client, name) == "v1"
    manager.rotate(name, "v2")  # as if the write had been carried out, and its answer lost
    manager.proxies[TOKYO].set_fault(Refuse())
    with pytest.raises(EndpointConnectionError):
        client.put_secret_value(SecretId=name, SecretString="v2")
    manager.proxies[TOKYO].heal()
    assert value(client, name) == "v2"


def test_what_is_no_value_is_written_without_doubting_a_replica(make: Make, name: str) -> None:
    client = make()
    client.tag_resource(SecretId=name, Tags=[{"Key": "a", "Value": "b"}])
    client.put_resource_policy(SecretId=name, ResourcePolicy="{}")
    client.update_secret(SecretId=name, Description="of the application")
    assert client.describe_secret(SecretId=name)["Description"] == "of the application"
    assert not client.cache._written._marks
    assert value(client, name) == "v1"


def test_a_replica_is_made_a_secret_of_its_own_in_its_region(manager: EmbeddedSecretsManager, make: Make) -> None:
    client = make()
    asked = {"SecretId": arn(TOKYO)}
    with Stubber(client._desk.regions.client(TOKYO)) as stub:
        stub.add_response("stop_replication_to_replica", {"ARN": arn(TOKYO)}, asked)
        client.stop_replication_to_replica(**asked)
        stub.assert_no_pending_responses()
    with Stubber(client._desk.regions.client(TOKYO)), pytest.raises(ClientError):
        client.stop_replication_to_replica(SecretId="no/such")  # by name: of the first region
    assert manager.proxies[OSAKA].requests


# a replica that lags behind: moto's never do


def lagging(version: str = NEW) -> tuple[House, Any]:
    """A client whose Osaka shows the old version still, and whose Tokyo shows what was written."""
    house = House(session_factory=offline)
    house.says(OSAKA, answer(OSAKA, "old", VersionId=OLD))
    house.says(TOKYO, answer(TOKYO, "old", VersionId=OLD))
    client = secretcache.client(cache=house.cache)
    return house, client


def write(client: Any, method: str, response: dict[str, Any], **params: Any) -> None:
    """A write that the service answers with `response`."""
    home = client._desk.regions.client(TOKYO)
    told = {"ARN": arn(TOKYO), "Name": "prod/db", **response}
    with Stubber(home) as stub:
        stub.add_response("describe_secret", {"PrimaryRegion": TOKYO})
        stub.add_response(method, told)
        client._desk.regions._clients[OSAKA, False] = home
        getattr(client, method)(SecretId="prod/db", **params)


def test_a_replicas_older_value_is_not_served_after_a_put() -> None:
    house, client = lagging()
    assert value(client, "prod/db") == "old"
    house.says(TOKYO, answer(TOKYO, "new", VersionId=NEW))
    write(client, "put_secret_value", {"VersionId": NEW, "VersionStages": ["AWSCURRENT"]}, SecretString="new")
    assert value(client, "prod/db") == "new"
    assert house.cache.refresh("prod/db").string == "new"
    house.cache.invalidate("prod/db")
    house.says(OSAKA, answer(OSAKA, "new", VersionId=NEW))
    house.fails(TOKYO)
    assert value(client, "prod/db") == "new"


def test_an_older_value_is_not_served_while_the_primary_is_down() -> None:
    house, client = lagging()
    house.fails(TOKYO)
    write(client, "put_secret_value", {"VersionId": NEW, "VersionStages": ["AWSCURRENT"]}, SecretString="new")
    with pytest.raises((OSError, ReadTimeoutError, secretcache.SecretUnavailableError)):
        value(client, "prod/db")


def test_a_batch_is_not_behind_a_write_either() -> None:
    house, client = lagging()
    house.says(TOKYO, answer(TOKYO, "new", VersionId=NEW))
    write(client, "update_secret", {"VersionId": NEW}, SecretString="new")
    told = client.batch_get_secret_value(SecretIdList=["prod/db"])
    assert [one["SecretString"] for one in told["SecretValues"]] == ["new"]


def test_after_a_rotation_reads_look_for_the_new_version() -> None:
    house, client = lagging()
    write(client, "rotate_secret", {"VersionId": NEW})
    assert value(client, "prod/db") == "old"
    house.says(TOKYO, answer(TOKYO, "new", VersionId=NEW))
    client._desk._rotating["prod/db"]._asked = 0.0  # a second later
    assert value(client, "prod/db") == "new"
    assert value(client, "prod/db") == "new"
    assert not client._desk._rotating


def test_a_rotation_for_later_is_not_looked_for() -> None:
    _, client = lagging()
    write(client, "rotate_secret", {"VersionId": NEW}, RotateImmediately=False)
    assert not client._desk._rotating


# what was written, by itself


class Marks:
    def __init__(self) -> None:
        self.runtime = ManualRuntime()
        self.written = Written(self.runtime.now)

    def behind(self, region: str, version: str, stage: str | None = "AWSCURRENT", *, before: bool = False) -> bool:
        query = Query(parse_secret_id("prod/db", REGIONS), stage)
        reply = answer(region, VersionId=version)
        ticket = 0 if before else self.written.ticket
        return isinstance(self.written.judge(Call(region, query), reply, ticket), Failure)


def test_what_was_written_is_expected_of_a_replica_until_it_shows_it() -> None:
    marks = Marks()
    assert not marks.behind(OSAKA, OLD)
    marks.written.note(arn(TOKYO), TOKYO, {"AWSCURRENT": NEW})
    assert marks.behind(OSAKA, OLD)
    assert not marks.behind(OSAKA, OLD, before=True)  # whoever asked before the write may get what was then
    assert not marks.behind(OSAKA, NEW)
    assert not marks.behind(OSAKA, NEWER)  # it has caught up: what it shows from then on is no older


def test_what_the_primary_shows_later_is_expected_from_then_on() -> None:
    marks = Marks()
    marks.written.note(arn(TOKYO), TOKYO, {"AWSCURRENT": NEW})
    assert marks.behind(OSAKA, NEWER)
    assert not marks.behind(TOKYO, NEWER)
    assert not marks.behind(OSAKA, NEWER)


def test_a_known_version_is_waited_for_without_end_and_an_unknown_one_for_a_while() -> None:
    marks = Marks()
    marks.written.note(arn(TOKYO), TOKYO, {"AWSCURRENT": NEW})
    assert marks.behind(OSAKA, OLD, "AWSPREVIOUS")
    marks.runtime.advance(901)
    assert not marks.behind(OSAKA, OLD, "AWSPREVIOUS")
    assert marks.behind(OSAKA, OLD)


def test_a_rotations_version_is_waited_for_for_a_while() -> None:
    marks = Marks()
    marks.written.note(arn(TOKYO), TOKYO, {"AWSCURRENT": NEW}, awaited=True)
    assert not marks.behind(TOKYO, OLD)
    assert marks.behind(OSAKA, OLD)
    marks.runtime.advance(901)
    assert not marks.behind(OSAKA, OLD)


def test_versions_asked_for_by_id_and_other_secrets_are_not_concerned() -> None:
    marks = Marks()
    marks.written.note(arn(TOKYO, "other"), TOKYO, {"AWSCURRENT": NEW})
    marks.written.note("no arn", TOKYO)
    assert not marks.behind(OSAKA, OLD)
    marks.written.note(arn(TOKYO), TOKYO, {"AWSCURRENT": NEW})
    assert not marks.behind(OSAKA, OLD, None)


def test_a_bounded_number_of_writes_is_remembered() -> None:
    marks = Marks()
    marks.written.note(arn(TOKYO), TOKYO, {"AWSCURRENT": NEW})
    for number in range(1024):
        marks.written.note(arn(TOKYO, f"other-{number}"), TOKYO)
    assert len(marks.written._marks) == 1024
    assert not marks.behind(OSAKA, OLD)


def test_what_is_behind_is_taken_out_of_a_batch() -> None:
    house = House()
    written = Written(house.runtime.now)
    written.note(arn(TOKYO, "a"), TOKYO, {"AWSCURRENT": NEW})
    transport = UpToDate(house.regions, written)
    queries = tuple(Query(parse_secret_id(name, REGIONS)) for name in ("a", "b"))
    reply = transport.send(BatchCall(OSAKA, queries))
    assert not isinstance(reply, Failure)
    assert [value["Name"] for value in reply["SecretValues"]] == ["b"]
