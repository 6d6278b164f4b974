"""How much of an answer is read, for how long, and over which connections: with real sockets."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from botocore.config import Config

from keepalive import tagged_session
from secretcache import SecretCache
from secretcache._ids import Query, SecretId
from secretcache._regions.policy import RegionPolicy
from secretcache._secret import Lifetime
from secretcache._settings import Settings
from secretcache._transport import BatchCall, Call, Failure, Fault, Reply, _http
from secretcache._transport._botocore import BotocoreTransport
from secretcache._versions import read_answer
from support import OSAKA, PATIENCE, REGIONS, TOKYO, InThread, arn
from wires import Wire, answer, serving

CALL = Call(OSAKA, Query(SecretId("x")))
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BUFFERED = 16 * 1024 * 1024
"""Bytes that the two kernels' buffers may take of what the client never reads."""


@contextmanager
def transport(url: str, config: Config | None = None) -> Iterator[BotocoreTransport]:
    made = BotocoreTransport(
        Settings(regions=(OSAKA,), endpoint_urls={OSAKA: url}, session_factory=tagged_session, client_config=config)
    )
    try:
        yield made
    finally:
        made.close()


def failure(reply: Reply) -> Failure:
    assert isinstance(reply, Failure), "an answer"
    return reply


def endless(head: bytes, part: bytes) -> Callable[[Wire], None]:
    def script(wire: Wire) -> None:
        wire.read()
        wire.send(head)
        while wire.sent < 4 * (BUFFERED + _http.LONGEST_ANSWER):
            wire.send(part)

    return script


ENDLESS = {
    "a body of 1 GB": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n", b"a" * 65_536),
    "a body without a length": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65_536),
    "chunks": (CHUNKED, b"10000\r\n" + b"a" * 65_536 + b"\r\n"),
    "a chunk of 1 GB": (CHUNKED + b"3b9aca00\r\n", b"a" * 65_536),
    "an error's body": (b"HTTP/1.1 503 No\r\n\r\n", b"a" * 65_536),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_no_more_is_read_than_twenty_secrets_can_take(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "WHOLE_SECONDS", PATIENCE)  # on a busy machine too, it is the length that counts
    with serving(endless(*ENDLESS[kind])) as (url, wires), transport(url) as sends:
        told = failure(sends.send(CALL))
        assert (told.fault, told.code) == (Fault.REGION, "AnswerTooLongError")
        assert str(told) == (
            f"AnswerTooLongError: more than {_http.LONGEST_ANSWER} bytes came from {url}/, "
            "which no answer of Secrets Manager has"
        )
        assert wires[0].ended.wait(PATIENCE), "the connection is open"
        assert wires[0].sent < BUFFERED + _http.LONGEST_ANSWER


def test_the_size_of_a_chunk_has_no_end_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "WHOLE_SECONDS", PATIENCE)
    with serving(endless(CHUNKED, b"0" * 65_536)) as (url, wires), transport(url) as sends:
        assert failure(sends.send(CALL)).fault is Fault.REGION  # by urllib3's own bound, where it has one
        assert wires[0].ended.wait(PATIENCE), "the connection is open"
        assert wires[0].sent < BUFFERED + _http.LONGEST_ANSWER


def test_the_longest_batch_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "WHOLE_SECONDS", PATIENCE)
    value = "\x01" * 65_536  # the worst case of JSON: six bytes each
    names = [f"{number:02}" for number in range(20)]
    told = [
        {"ARN": arn(OSAKA, name), "Name": name, "VersionId": "v" * 32, "SecretString": value, "VersionStages": ["A"]}
        for name in names
    ]
    body = json.dumps({"SecretValues": told, "Errors": []}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)

    def script(wire: Wire) -> None:
        wire.read()
        wire.send(head + body)

    with serving(script) as (url, _), transport(url) as sends:
        reply = sends.send(BatchCall(OSAKA, tuple(Query(SecretId(name)) for name in names)))
    assert not isinstance(reply, Failure)
    assert [one["SecretString"] for one in reply["SecretValues"]] == [value] * 20


def test_a_compressed_body_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "WHOLE_SECONDS", PATIENCE)
    bomb = gzip.compress(b"0" * 50_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)

    def script(wire: Wire) -> None:
        wire.read()
        wire.send(head + bomb)

    with serving(script) as (url, _), transport(url) as sends:
        reply = sends.send(CALL)
    assert isinstance(reply, Failure) or "ARN" not in reply


def drip(wire: Wire) -> None:
    wire.read()
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    for _ in count():
        wire.send(b" ")
        threading.Event().wait(0.02)  # the pace of the server, which nothing waits for


def test_an_answer_that_drips_is_read_no_longer_than_its_attempt_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert RegionPolicy().attempt_cap == _http.WHOLE_SECONDS
    monkeypatch.setattr(_http, "WHOLE_SECONDS", 0.3)
    with serving(drip) as (url, wires), transport(url) as sends:
        told = failure(sends.send(CALL))
        assert (told.fault, str(told)) == (
            Fault.REGION,
            f"AnswerTooSlowError: no whole answer within 0.3 s from {url}/",
        )
        assert wires[0].ended.wait(PATIENCE), "the connection is open"


def test_a_cache_that_is_closed_stops_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "WHOLE_SECONDS", 1000.0)
    dripping = threading.Event()

    def script(wire: Wire) -> None:
        dripping.set()
        drip(wire)

    with serving(script) as (url, wires), transport(url) as sends:
        reader = InThread(lambda: sends.send(CALL))
        assert dripping.wait(PATIENCE)
        sends.close()
        assert isinstance(reader.result(), Failure)
        assert wires[0].ended.wait(PATIENCE), "the connection is open"


def answers_once(then: Callable[[Wire], None]) -> Callable[[Wire], None]:
    """The first request on a connection is answered; at the second it shows that it is dead."""

    def script(wire: Wire) -> None:
        wire.read()
        wire.send(answer())
        if wire.read():
            then(wire)

    return script


DEATHS = {"closed": Wire.close, "silent": Wire.wait_for_end}


@pytest.mark.parametrize("death", DEATHS)
def test_a_connection_that_died_in_the_pool_costs_no_read(death: str) -> None:
    with serving(answers_once(DEATHS[death])) as (url, wires), transport(url) as sends:
        for _ in range(3):
            assert not isinstance(sends.send(CALL), Failure)
        assert [wire.requests for wire in wires] == [2, 2, 1]


@pytest.mark.parametrize("death", DEATHS)
def test_connections_that_died_in_the_pool_open_no_breaker(death: str) -> None:
    def script(wire: Wire) -> None:
        assert wire.read()
        wire.send(answer(f"secret/{next(numbers)}"))
        if wire.read():
            DEATHS[death](wire)

    numbers = count()
    with (
        serving(script) as (url, wires),
        SecretCache([OSAKA], endpoint_urls={OSAKA: url}, session_factory=tagged_session) as cache,
    ):
        for number in range(5):
            assert cache.get(f"secret/{number}").region == OSAKA
        health = cache.region_health()[OSAKA]
        assert (health.state, health.outcomes, health.last_error, health.failures_in_a_row) == ("closed", {}, None, 0)
        assert len(wires) == 5


def test_a_new_connection_that_fails_is_the_regions_fault_at_once() -> None:
    def script(wire: Wire) -> None:
        wire.read()

    with serving(script) as (url, wires), transport(url) as sends:
        told = failure(sends.send(CALL))
        assert (told.fault, told.code, len(wires)) == (Fault.REGION, "ConnectionClosedError", 1)


def test_an_answer_that_breaks_off_on_a_used_connection_is_the_regions_fault() -> None:
    def broken(wire: Wire) -> None:
        wire.send(answer()[:50])
        wire.close()

    with serving(answers_once(broken)) as (url, wires), transport(url) as sends:
        assert not isinstance(sends.send(CALL), Failure)
        told = read_answer(CALL, sends.send(CALL), 0.0, Lifetime(lambda: 0.0, 300.0))
        assert isinstance(told, Failure)
        assert (told.fault, len(wires)) == (Fault.REGION, 1)


def test_after_one_silence_no_connection_that_was_idle_then_is_used() -> None:
    both, go_on = threading.Barrier(2), threading.Event()

    def script(wire: Wire) -> None:
        wire.read()
        if wire.number <= 2:
            both.wait(PATIENCE)
        wire.send(answer())
        if wire.read():
            assert go_on.is_set()
            wire.wait_for_end()

    with serving(script) as (url, wires), transport(url) as sends:
        readers = [InThread(lambda: sends.send(CALL)) for _ in range(2)]
        assert not any(isinstance(reader.result(), Failure) for reader in readers)
        go_on.set()
        assert not isinstance(sends.send(CALL), Failure)
        assert [wire.requests for wire in wires[:2]] in ([2, 1], [1, 2])
        assert len(wires) == 3
        readers = [InThread(lambda: sends.send(CALL)) for _ in range(2)]  # one may have the new one
        assert not any(isinstance(reader.result(), Failure) for reader in readers)
        assert [wire.requests for wire in wires[:2]] in ([2, 1], [1, 2]), "an idle one was used again"


def test_where_answers_are_slow_silence_says_nothing_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "REUSED_SECONDS", -1.0)  # every answer is slow; and no socket waits for so long

    def script(wire: Wire) -> None:
        while wire.read():
            wire.send(answer())

    with serving(script) as (url, wires), transport(url) as sends:
        for _ in range(3):
            assert not isinstance(sends.send(CALL), Failure)
        assert [wire.requests for wire in wires] == [3]


@pytest.mark.parametrize(("config", "kept"), [(None, True), (Config(tcp_keepalive=False), False)])
def test_idle_connections_are_kept_alive_unless_client_config_says_otherwise(
    config: Config | None,
    kept: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[socket.socket] = []
    pace = _http._keep_alive

    def watched(sock: socket.socket) -> None:
        pace(sock)
        seen.append(sock)

    monkeypatch.setattr(_http, "_keep_alive", watched)

    def script(wire: Wire) -> None:
        while wire.read():
            wire.send(answer())

    with serving(script) as (url, _), transport(url, config) as sends:
        assert not isinstance(sends.send(CALL), Failure)
        (sock,) = seen
        assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is kept
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert (sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30) is kept


def test_an_http_client_of_another_make_is_left_alone() -> None:
    _http.guard(object(), bool)
    assert TOKYO in REGIONS
