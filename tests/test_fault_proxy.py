"""The embedded Secrets Manager and its faultable endpoints, over real sockets."""

import contextlib
import errno
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import (
    EMPTY_200,
    HTML_200,
    HTML_503,
    INTERNAL_500,
    Delay,
    Drip,
    Fault,
    Hold,
    Refuse,
    Reset,
    ResetMidway,
    Respond,
    Silent,
    service_error,
)
from secretcache._demo.proxy import FaultProxy

PRIMARY = "us-east-1"
REPLICA = "us-west-2"
LONG = 60.0


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    captured = capfd.readouterr()
    assert captured.err == ""
    assert captured.out == ""


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedSecretsManager]:
    with EmbeddedSecretsManager(PRIMARY, [REPLICA]) as embedded:
        embedded.create("db", "first")
        yield embedded


@pytest.fixture
def embedded(running: EmbeddedSecretsManager) -> Iterator[EmbeddedSecretsManager]:
    yield running
    for proxy in running.proxies.values():
        proxy.heal()
        proxy.clear()


@pytest.fixture
def proxy(embedded: EmbeddedSecretsManager) -> FaultProxy:
    return embedded.proxies[PRIMARY]


@pytest.fixture
def moto_address(embedded: EmbeddedSecretsManager) -> tuple[str, int]:
    host, port = embedded.admin().meta.endpoint_url.removeprefix("http://").split(":")
    return host, int(port)


@pytest.fixture
def own(moto_address: tuple[str, int]) -> Iterator[FaultProxy]:
    """A proxy which the test may close."""
    with FaultProxy(moto_address) as made:
        yield made
    assert alive(made) == []


@pytest.fixture
def small() -> Iterator[FaultProxy]:
    """A proxy whose upstream gives a short answer."""
    with FaultProxy(("127.0.0.1", 1)) as upstream, FaultProxy(upstream.address) as made:
        upstream.set_fault(Respond(200, b'{"SecretString":"small"}'))
        yield made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        yield made


def alive(proxy: FaultProxy) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"fault-proxy-{proxy.port}-")]


def client(embedded: EmbeddedSecretsManager, region: str = PRIMARY, url: str | None = None, timeout: float = 10) -> Any:
    config = Config(connect_timeout=5, read_timeout=timeout, retries={"total_max_attempts": 1})
    session = embedded.session(region)
    return session.create_client("secretsmanager", endpoint_url=url or embedded.endpoint_urls[region], config=config)


def read(embedded: EmbeddedSecretsManager, **options: Any) -> Any:
    return client(embedded, **options).get_secret_value(SecretId="db")


def wire(body: bytes = b'{"SecretId": "db"}', *, signed: bool = True) -> bytes:
    scope = "Authorization: AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/secretsmanager/aws4_request, X=1\r\n"
    head = (
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: secretsmanager.GetSecretValue\r\n"
        f"Content-Type: application/x-amz-json-1.1\r\n{scope if signed else ''}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextlib.contextmanager
def connected(proxy: FaultProxy, data: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(proxy.address, timeout=10) as sock:
        sock.sendall(data)
        yield sock


def read_until_reset(sock: socket.socket) -> bytes:
    """Return what came before the reset; a plain end of the stream fails."""
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        return data
    pytest.fail("the connection ended without a reset")


def read_to_end(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def is_reset(proxy: FaultProxy, data: bytes) -> bool:
    with connected(proxy, data) as sock:
        return read_until_reset(sock) == b""


# --- passing through and recording


def test_requests_pass_through_and_are_recorded(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    before, connections = time.monotonic(), proxy.connections
    assert read(embedded)["SecretString"] == "first"
    (request,) = proxy.requests
    assert (request.operation, request.secret_id, request.region) == ("GetSecretValue", "db", PRIMARY)
    assert request.body == {"SecretId": "db"}
    assert before <= request.at <= time.monotonic()
    assert proxy.connections == connections + 1
    assert proxy.fault is None


def test_each_region_has_its_own_proxy(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    proxy.set_fault(Reset())
    answer = read(embedded, region=REPLICA)
    assert answer["SecretString"] == "first"
    assert f":{REPLICA}:" in answer["ARN"]
    assert [request.region for request in embedded.proxies[REPLICA].requests] == [REPLICA]
    assert proxy.requests == ()


def test_errors_of_the_service_pass_through(embedded: EmbeddedSecretsManager) -> None:
    with pytest.raises(ClientError) as caught:
        client(embedded).get_secret_value(SecretId="absent")
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_an_answer_says_that_the_connection_closes(proxy: FaultProxy) -> None:
    with connected(proxy, wire()) as sock:
        head, _, body = read_to_end(sock).partition(b"\r\n\r\n")
    assert head.lower().count(b"connection: close") == 1
    assert json.loads(body)["SecretString"] == "first"


def test_a_request_may_come_in_pieces(proxy: FaultProxy) -> None:
    with connected(proxy) as sock:
        for piece in (wire()[:10], wire()[10:-5], wire()[-5:]):
            sock.sendall(piece)
        assert b'"first"' in read_to_end(sock)


@pytest.mark.parametrize("body", [b"", b"no json", b"[1]", b"\xff"])
def test_unsigned_and_odd_bodies_are_recorded_as_empty(proxy: FaultProxy, body: bytes) -> None:
    proxy.set_fault(EMPTY_200)
    with connected(proxy, wire(body, signed=False)) as sock:
        read_to_end(sock)
    (request,) = proxy.requests
    assert (request.region, request.secret_id, request.body) == (None, None, {})


def test_a_request_of_another_protocol_has_no_operation(proxy: FaultProxy) -> None:
    proxy.set_fault(EMPTY_200)
    with connected(proxy, b"GET / HTTP/1.1\r\n\r\n") as sock:
        read_to_end(sock)
    assert proxy.requests[0].operation is None


@pytest.mark.parametrize("data", [b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", b"x" * 200_000])
def test_what_is_no_request_is_reset(proxy: FaultProxy, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # the reset may come while the data is sent
        is_reset(proxy, data)
    assert proxy.requests == ()


def test_a_client_which_leaves_early_is_not_recorded(own: FaultProxy) -> None:
    with connected(own, wire()[:-3]):
        pass
    own.set_fault(EMPTY_200)
    with connected(own, wire()) as sock:
        read_to_end(sock)
    assert len(own.requests) == 1


def test_wait_for_requests(proxy: FaultProxy, pool: ThreadPoolExecutor) -> None:
    with pytest.raises(TimeoutError, match="0 of 1"):
        proxy.wait_for_requests(1, timeout=0.01)
    waiter = pool.submit(proxy.wait_for_requests, 2)
    for _ in range(2):
        with connected(proxy, wire()) as sock:
            read_to_end(sock)
    waiter.result(10)
    proxy.clear()
    assert proxy.requests == ()


def test_faults_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Delay(1).seconds = 2  # type: ignore[misc]


# --- the faults


def test_refuse(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    port, connections = proxy.port, proxy.connections
    proxy.set_fault(Refuse())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(proxy.address, timeout=5)
    with pytest.raises(EndpointConnectionError):
        read(embedded)
    assert proxy.connections == connections
    proxy.heal()
    assert (proxy.port, proxy.fault) == (port, None)
    assert read(embedded)["SecretString"] == "first"


def test_refuse_keeps_the_port(proxy: FaultProxy) -> None:
    proxy.set_fault(Refuse())
    with socket.socket() as other, pytest.raises(OSError) as caught:
        other.bind(proxy.address)
    assert caught.value.errno == errno.EADDRINUSE


def test_refuse_again_and_again(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    for _ in range(50):
        proxy.set_fault(Refuse())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(proxy.address, timeout=5)
        proxy.set_fault(EMPTY_200)
        with connected(proxy, wire()) as sock:
            assert read_to_end(sock)
    proxy.heal()
    assert read(embedded)["SecretString"] == "first"


def test_refuse_resets_a_connection_made_before(proxy: FaultProxy) -> None:
    with connected(proxy) as sock:
        with connected(proxy, wire()) as later:
            read_to_end(later)  # connections are accepted in order
        proxy.set_fault(Refuse())
        sock.sendall(wire())
        assert read_until_reset(sock) == b""


def test_a_fault_set_before_the_start(moto_address: tuple[str, int]) -> None:
    proxy = FaultProxy(moto_address)
    proxy.set_fault(Refuse())
    with proxy:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(proxy.address, timeout=5)
        proxy.heal()
        with connected(proxy, wire()) as sock:
            assert b'"first"' in read_to_end(sock)


def test_reset(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    proxy.set_fault(Reset())
    assert is_reset(proxy, wire())
    with pytest.raises(ConnectionClosedError):
        read(embedded)
    assert len(proxy.requests) == 2
    proxy.heal()
    assert read(embedded)["SecretString"] == "first"


def test_reset_midway(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    with connected(proxy, wire()) as sock:
        whole = read_to_end(sock).partition(b"\r\n\r\n")[2]
    proxy.set_fault(ResetMidway())
    with connected(proxy, wire()) as sock:
        head, _, half = read_until_reset(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(whole)}".encode() in head
    assert half == whole[: len(whole) // 2]
    with pytest.raises((HTTPClientError, ResponseStreamingError)):
        read(embedded)
    proxy.heal()
    assert read(embedded)["SecretString"] == "first"


def test_silent_times_out(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    proxy.set_fault(Silent())
    with pytest.raises(ReadTimeoutError):
        read(embedded, timeout=0.3)
    proxy.heal()
    assert read(embedded)["SecretString"] == "first"


@pytest.mark.parametrize(
    "end", [FaultProxy.heal, FaultProxy.close, lambda proxy: proxy.set_fault(Silent())], ids=["heal", "close", "set"]
)
def test_silent_resets_when_it_ends(own: FaultProxy, end: Callable[[FaultProxy], None]) -> None:
    own.set_fault(Silent())
    with connected(own, wire()) as sock:
        own.wait_for_requests(1)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(10)
        end(own)
        assert read_until_reset(sock) == b""


def test_delay(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    proxy.set_fault(Delay(0.2))
    before = time.monotonic()
    assert read(embedded)["SecretString"] == "first"
    assert time.monotonic() - before >= 0.2
    with pytest.raises(ReadTimeoutError):
        read(embedded, timeout=0.05)


@pytest.mark.parametrize("fault", [None, Reset(), Delay(LONG)])
def test_a_change_of_fault_ends_a_delay(
    embedded: EmbeddedSecretsManager, proxy: FaultProxy, pool: ThreadPoolExecutor, fault: Fault | None
) -> None:
    proxy.set_fault(Delay(LONG))
    answer = pool.submit(read, embedded)
    proxy.wait_for_requests(1)
    proxy.set_fault(fault)
    assert answer.result(10)["SecretString"] == "first"


def test_drip_gives_the_whole_answer_in_single_bytes(embedded: EmbeddedSecretsManager, small: FaultProxy) -> None:
    small.set_fault(Drip(0.005))
    before = time.monotonic()
    with connected(small, wire()) as sock:
        pieces = list(iter(lambda: sock.recv(65536), b""))
    assert b"".join(pieces).endswith(b'"small"}')
    assert len(pieces) > len(b"".join(pieces)) / 2
    assert time.monotonic() - before >= 0.005 * len(b"".join(pieces))


def test_drip_outlasts_a_read_timeout(embedded: EmbeddedSecretsManager, small: FaultProxy) -> None:
    small.set_fault(Drip(0.005))
    before = time.monotonic()
    assert read(embedded, url=small.url, timeout=0.3)["SecretString"] == "small"
    assert time.monotonic() - before > 0.3


def test_drip_resets_when_it_ends(proxy: FaultProxy) -> None:
    proxy.set_fault(Drip(0.01))
    with connected(proxy, wire()) as sock:
        first = sock.recv(1)
        proxy.heal()
        rest = read_until_reset(sock)
    assert (first + rest).startswith(b"HTTP"[: len(first + rest)])
    assert b"\r\n\r\n" not in first + rest


def test_respond(embedded: EmbeddedSecretsManager, proxy: FaultProxy) -> None:
    proxy.set_fault(service_error("ThrottlingException", "Rate exceeded"))
    with pytest.raises(ClientError) as caught:
        read(embedded)
    assert caught.value.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    proxy.heal()
    assert read(embedded)["SecretString"] == "first"


@pytest.mark.parametrize(
    ("fault", "status", "code"), [(INTERNAL_500, 500, "InternalServiceError"), (HTML_503, 503, "503")]
)
def test_respond_with_a_failure_of_the_service(
    embedded: EmbeddedSecretsManager, proxy: FaultProxy, fault: Fault, status: int, code: str
) -> None:
    proxy.set_fault(fault)
    with pytest.raises(ClientError) as caught:
        read(embedded)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert caught.value.response["Error"]["Code"] == code


@pytest.mark.parametrize("fault", [EMPTY_200, HTML_200])
def test_respond_with_a_success_without_a_secret(
    embedded: EmbeddedSecretsManager, proxy: FaultProxy, fault: Fault
) -> None:
    proxy.set_fault(fault)
    answer = read(embedded)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert "SecretString" not in answer


def test_respond_sends_just_what_it_says(proxy: FaultProxy) -> None:
    proxy.set_fault(Respond(599, b"body", "text/plain", (("Retry-After", "7"),)))
    with connected(proxy, wire()) as sock:
        answer = read_to_end(sock)
    assert answer == (
        b"HTTP/1.1 599 Unknown\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n"
        b"Retry-After: 7\r\nConnection: close\r\n\r\nbody"
    )


def held_read(embedded: EmbeddedSecretsManager, proxy: FaultProxy, pool: ThreadPoolExecutor) -> "Future[Any]":
    seen = len(proxy.requests)
    answer = pool.submit(read, embedded)
    proxy.wait_for_requests(seen + 1)
    return answer


def test_hold_forwards_after_the_release(
    embedded: EmbeddedSecretsManager, proxy: FaultProxy, pool: ThreadPoolExecutor
) -> None:
    embedded.create("held", "old")
    proxy.set_fault(Hold())
    answer = pool.submit(client(embedded).get_secret_value, SecretId="held")
    proxy.wait_for_requests(1)
    version = embedded.rotate("held", "new")
    proxy.release()
    assert answer.result(10)["VersionId"] == version


def test_hold_goes_on_after_a_release(
    embedded: EmbeddedSecretsManager, proxy: FaultProxy, pool: ThreadPoolExecutor
) -> None:
    proxy.set_fault(Hold())
    first = held_read(embedded, proxy, pool)
    proxy.release()
    assert first.result(10)["SecretString"] == "first"
    second = held_read(embedded, proxy, pool)
    assert not wait([second], timeout=0.05).done
    proxy.heal()
    assert second.result(10)["SecretString"] == "first"


def test_release_leaves_other_faults_alone(proxy: FaultProxy) -> None:
    proxy.set_fault(Silent())
    with connected(proxy, wire()) as sock:
        proxy.wait_for_requests(1)
        proxy.release()
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_the_fault_counts_when_the_request_was_read(proxy: FaultProxy) -> None:
    with connected(proxy, wire()[:-1]) as sock:
        proxy.set_fault(Reset())
        sock.sendall(wire()[-1:])
        assert read_until_reset(sock) == b""
    with connected(proxy, wire()[:-1]) as sock:
        proxy.heal()
        sock.sendall(wire()[-1:])
        assert b'"first"' in read_to_end(sock)


def test_faults_change_under_load(
    embedded: EmbeddedSecretsManager, proxy: FaultProxy, pool: ThreadPoolExecutor
) -> None:
    def call() -> bytes:
        try:
            with connected(proxy, wire()) as sock:
                return read_to_end(sock)
        except ConnectionError:
            return b""

    calls = [pool.submit(call) for _ in range(200)]
    faults: list[Fault | None] = [Refuse(), None, Silent(), Reset(), Hold(), ResetMidway(), Drip(0), Delay(LONG)]
    while not all(future.done() for future in calls):
        for fault in faults:
            proxy.set_fault(fault)
    proxy.heal()
    assert {future.result(10)[:8] for future in calls} <= {b"", b"HTTP/1.1"}
    assert read(embedded)["SecretString"] == "first"


# --- upstream failures


def test_an_upstream_which_refuses_is_a_reset() -> None:
    with FaultProxy(("127.0.0.1", 1)) as proxy:
        assert is_reset(proxy, wire())


@pytest.mark.parametrize("fault", [Reset(), ResetMidway()])
def test_an_upstream_which_breaks_off_is_a_reset(own: FaultProxy, fault: Fault) -> None:
    own.set_fault(fault)
    with FaultProxy(own.address) as outer:
        assert is_reset(outer, wire())


def test_an_upstream_may_answer_without_a_length() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        FaultProxy(server.getsockname()[:2]) as proxy,
        connected(proxy, wire()) as sock,
    ):
        peer, _ = server.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.0 200 OK\r\nKeep-Alive: 5\r\nConnection: keep-alive\r\n\r\nall ")
            peer.sendall(b"of it")
        assert read_to_end(sock) == b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nall of it"


# --- the end


@pytest.mark.parametrize("fault", [Silent(), Hold(), Delay(LONG), Drip(LONG)])
def test_close_resets_what_a_fault_keeps(own: FaultProxy, fault: Fault) -> None:
    own.set_fault(fault)
    with connected(own, wire()) as sock:
        own.wait_for_requests(1)
        own.close()
        assert alive(own) == []
        assert read_until_reset(sock) == b""


def test_close_resets_idle_and_unfinished_connections(own: FaultProxy) -> None:
    with connected(own) as idle, connected(own, wire()[:-1]) as unfinished, connected(own, wire()) as last:
        read_to_end(last)  # connections are accepted in order
        own.close()
        assert alive(own) == []
        assert read_until_reset(idle) == b""
        assert read_until_reset(unfinished) == b""


def test_close_does_not_wait_for_the_upstream(own: FaultProxy) -> None:
    own.set_fault(Silent())
    with FaultProxy(own.address) as outer, connected(outer, wire()) as sock:
        own.wait_for_requests(1)
        before = time.monotonic()
        outer.close()
        assert time.monotonic() - before < 2
        assert alive(outer) == []
        assert read_until_reset(sock) == b""


def test_close_does_not_wait_for_a_client_which_never_reads(own: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secretcache._demo.proxy._JOIN_SECONDS", 0.1)
    own.set_fault(Respond(200, b"x" * 50_000_000))
    with connected(own, wire()):
        own.wait_for_requests(1)
        own.close()
        assert alive(own) == []


def test_close_gives_the_port_back_and_may_be_repeated(own: FaultProxy) -> None:
    own.close()
    own.close()
    own.heal()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(own.address, timeout=5)
    with socket.socket() as other:
        other.bind(own.address)


def test_a_refusing_proxy_closes(own: FaultProxy) -> None:
    own.set_fault(Refuse())
    own.close()
    with socket.socket() as other:
        other.bind(own.address)


def test_a_proxy_starts_once(own: FaultProxy) -> None:
    with pytest.raises(RuntimeError, match="once"):
        own.start()
    unused = FaultProxy(("127.0.0.1", 1))
    with pytest.raises(RuntimeError, match="no port"):
        _ = unused.url
    unused.close()
    with pytest.raises(RuntimeError, match="once"):
        unused.start()


# --- the embedded Secrets Manager


@pytest.mark.parametrize(("value", "field"), [("text", "SecretString"), (b"\x00\xff", "SecretBinary")])
def test_create_replicates(embedded: EmbeddedSecretsManager, value: str | bytes, field: str) -> None:
    arn = embedded.create(f"created-{field}", value)
    assert f":{PRIMARY}:" in arn
    for region in (PRIMARY, REPLICA):
        answer = client(embedded, region).get_secret_value(SecretId=f"created-{field}")
        assert answer[field] == value
        assert answer["ARN"] == arn.replace(PRIMARY, region)


def test_rotate_shows_in_every_region(embedded: EmbeddedSecretsManager) -> None:
    arn = embedded.create("rotated", "old")
    embedded.proxies[PRIMARY].set_fault(Refuse())
    versions = [embedded.rotate("rotated", "newer"), embedded.rotate(arn, "newest")]
    answer = client(embedded, REPLICA).get_secret_value(SecretId="rotated")
    assert (answer["SecretString"], answer["VersionId"]) == ("newest", versions[-1])
    assert answer["VersionStages"] == ["AWSCURRENT"]
    previous = client(embedded, REPLICA).get_secret_value(SecretId="rotated", VersionStage="AWSPREVIOUS")
    assert previous["VersionId"] == versions[0]


def test_rotate_reports_a_replica_which_lags(embedded: EmbeddedSecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded.create("lagging", "old")
    monkeypatch.setattr(embedded.admin(REPLICA), "get_secret_value", lambda **_: {"VersionId": "stale"})
    with pytest.raises(RuntimeError, match=f"{REPLICA} shows version stale"):
        embedded.rotate("lagging", "new")


def test_reads_beside_rotations_all_succeed(
    embedded: EmbeddedSecretsManager, proxy: FaultProxy, pool: ThreadPoolExecutor
) -> None:
    embedded.create("busy", "0")
    done = threading.Event()

    def keep_reading() -> set[bytes]:
        statuses = set()
        while not done.is_set():
            with connected(proxy, wire(b'{"SecretId": "busy", "VersionStage": "AWSCURRENT"}')) as sock:
                statuses.add(read_to_end(sock)[:12])
        return statuses

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        readers = [pool.submit(keep_reading) for _ in range(4)]
        for number in range(50):
            embedded.rotate("busy", str(number))
    finally:
        done.set()
        sys.setswitchinterval(interval)
    assert set.union(*(reader.result(10) for reader in readers)) == {b"HTTP/1.1 200"}


def test_admin_is_made_once_per_region(embedded: EmbeddedSecretsManager) -> None:
    assert embedded.admin() is embedded.admin(PRIMARY)
    assert embedded.admin(REPLICA) is embedded.admin(REPLICA)
    assert embedded.admin(REPLICA).meta.region_name == REPLICA


def test_the_environment_diverts_nothing(embedded: EmbeddedSecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = "http://127.0.0.1:1"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"):
        monkeypatch.setenv(name, dead)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_PROFILE", "absent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/absent")
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "real")
    assert read(embedded, region=REPLICA)["SecretString"] == "first"
    session = embedded.session(REPLICA)
    assert session.get_config_variable("region") == REPLICA
    credentials = session.get_credentials()
    assert credentials is not None
    assert (credentials.access_key, credentials.secret_key) == ("testing", "testing")
    monkeypatch.setattr(embedded, "_admins", {})
    assert embedded.admin().get_secret_value(SecretId="db")["SecretString"] == "first"


def test_another_start_forgets_the_secrets(embedded: EmbeddedSecretsManager) -> None:
    try:
        with EmbeddedSecretsManager("eu-west-1", []) as other:
            other.create("alone", "value")
            assert other.rotate("alone", "again")
            assert list(other.endpoint_urls) == ["eu-west-1"]
            proxies = tuple(other.proxies.values())
        assert [alive(proxy) for proxy in proxies] == [[]]
        other.close()
        with pytest.raises(ClientError, match="ResourceNotFoundException"):
            embedded.admin().get_secret_value(SecretId="db")
    finally:
        embedded.create("db", "first")


def test_it_starts_before_its_use_and_once(embedded: EmbeddedSecretsManager) -> None:
    other = EmbeddedSecretsManager("eu-west-1", [])
    with pytest.raises(RuntimeError, match="start"):
        other.admin()
    with pytest.raises(RuntimeError, match="already"):
        embedded.start()


def test_a_region_may_not_be_named_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        EmbeddedSecretsManager(PRIMARY, [PRIMARY])


def test_without_moto_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moto.server", None)
    with pytest.raises(ImportError, match=r'pip install "secretcache\[demo\]"'):
        EmbeddedSecretsManager(PRIMARY, []).start()
