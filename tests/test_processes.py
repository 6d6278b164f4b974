"""Real processes: what a forked child keeps, and that it shares nothing else, under every way servers fork.

Every child is real and asks a server that knows each connection and each process (keepalive.py). A child tells what it
saw through a pipe; one that does not finish in time prints where its threads stand, and dies.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import faulthandler
import http.client
import json
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

import pytest

from keepalive import Answer, KeepAliveSecretsManager, Request, answer_in, make_cache
from secretcache import SecretCache, SecretUnavailableError
from secretcache._runtime import Lock
from servers import need
from support import PATIENCE, InThread

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # That a fork in a threaded process asks for care is what these tests are about (Python 3.12 and later say so).
    pytest.mark.filterwarnings(r"ignore:This process \(pid=\d+\) is multi-threaded:DeprecationWarning"),
]

BRISK = 0.4  # ttl, in seconds, of what is refreshed while the test looks on
LIFE = int(PATIENCE * 0.8)  # seconds


# The tools: a child, a server, a cache.


class Child:
    """A forked process that calls `do`, tells what it returns, and ends without any of pytest's own endings."""

    def __init__(self, do: Callable[[], Any], fork: Callable[[], int] = os.fork) -> None:
        self._told, tell = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            _tell_and_exit(do, tell)
        os.close(tell)
        self._end = weakref.finalize(self, _kill, self.pid, self._told)

    def result(self) -> Any:
        told = b""
        while not told.endswith(b"\n") and select.select([self._told], [], [], PATIENCE)[0]:
            piece = os.read(self._told, 65536)
            if not piece:
                break
            told += piece
        self._end()
        assert told, "the child did not finish: where its threads stood is in the captured stderr"
        outcome = json.loads(told)
        assert "error" not in outcome, outcome["error"]
        return outcome["value"]


def _tell_and_exit(do: Callable[[], Any], tell: int) -> NoReturn:
    try:
        # A tracer (coverage) has a lock that a thread which is not in this process may hold.
        sys.settrace(None)
        threading.settrace(None)
        bound()
        outcome = {"value": do()}
    except BaseException:  # noqa: BLE001 - told to the test
        outcome = {"error": traceback.format_exc()}
    os.write(tell, json.dumps(outcome).encode() + b"\n")
    os._exit(0)


def bound() -> None:
    """Lets this process live for so long; then it shows where its threads stand, and dies.

    An alarm and not faulthandler's own timer, which is a thread: a child of this process would wait for it for ever.
    """
    faulthandler.register(signal.SIGALRM, file=2, chain=True)
    signal.alarm(LIFE)


def _kill(pid: int, told: int) -> None:
    os.close(told)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def fork_without_hooks() -> int:
    """As uWSGI forks: with the interpreter's lock held, and without telling Python.

    To be called where no other thread runs, see `quietly`: one that waits for the interpreter's lock at that moment
    leaves it broken in the child (glibc's conditions remember who waits), whatever the child then does.
    """
    return int(ctypes.PyDLL(None).fork())


def quietly(do: Callable[[], Any]) -> Any:
    """Calls it in a child, which has one thread."""
    return Child(do).result()


@pytest.fixture
def server() -> Iterator[KeepAliveSecretsManager]:
    with KeepAliveSecretsManager() as running:
        yield running
        assert running.shared_connections() == {}


@pytest.fixture
def open_cache(server: KeepAliveSecretsManager) -> Iterator[Callable[..., SecretCache]]:
    """Makes caches over the server, and closes them."""
    made: list[SecretCache] = []

    def make(**options: Any) -> SecretCache:
        made.append(make_cache(server.url, **options))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


OpenCache = Callable[..., SecretCache]


def read(cache: SecretCache, secret_id: str) -> dict[str, Any]:
    """What a read brings, in a form that goes through a pipe."""
    return dataclasses.asdict(answer_in(cache.get(secret_id)))


def chance(cache: SecretCache) -> list[float]:
    """What the cache of this process would draw next."""
    return [cache._runtime.random() for _ in range(8)]


def all_differ(*several: list[float]) -> bool:
    return len({tuple(numbers) for numbers in several}) == len(several)


def own(requests: list[Request], process: int) -> list[Request]:
    return [request for request in requests if request.process == process]


# os.fork


def test_a_child_keeps_the_values_and_asks_on_a_connection_of_its_own(
    server: KeepAliveSecretsManager, open_cache: OpenCache
) -> None:
    cache = open_cache()
    mine = read(cache, "warm")

    def in_child() -> list[Any]:
        kept = read(cache, "warm")
        cache.invalidate("warm")
        fetched = cache.prefetch(["a", "b"]).succeeded
        in_loop = dataclasses.asdict(answer_in(asyncio.run(cache.aget("c"))))
        return [kept, read(cache, "warm"), read(cache, "a"), read(cache, "b"), in_loop, fetched]

    child = Child(in_child)
    kept, *asked, fetched = child.result()
    assert kept == mine, "a warm value is inherited, and costs no request"
    assert fetched == ["a", "b"]
    assert [(one["secret_id"], one["process"]) for one in asked] == [(name, child.pid) for name in ("warm", *"abc")]
    assert read(cache, "warm") == mine, "what the child forgets, its parent does not"
    cache.invalidate("warm")
    assert read(cache, "warm")["process"] == os.getpid()
    by_process = [(request.process, request.secret_ids) for request in server.requests]
    of_child = [(child.pid, names) for names in (("a", "b"), ("c",), ("warm",))]
    assert by_process == [(os.getpid(), ("warm",)), *of_child, (os.getpid(), ("warm",))]
    connections = [request.connection for request in server.requests]
    assert connections[0] == connections[-1], "the parent goes on with the connection it has"
    assert connections[0] not in connections[1:-1]


def test_each_child_has_chance_and_locks_of_its_own(open_cache: OpenCache) -> None:
    cache = open_cache()
    cache.get("warm")
    theirs = cache._engine.lock

    def in_child() -> list[Any]:
        lock = cache._engine.lock
        return [chance(cache), lock is theirs, lock.acquire()]

    children = [Child(in_child) for _ in range(2)]
    told = [child.result() for child in children]
    assert [those[1:] for those in told] == [[False, True]] * 2, "a lock of its own, and free"
    assert all_differ(told[0][0], told[1][0], chance(cache)), "no two processes jitter alike"


def test_a_fork_in_the_middle_of_a_flight(server: KeepAliveSecretsManager, open_cache: OpenCache) -> None:
    cache = open_cache()
    cache.get("another")  # the client is there, and its connection open
    server.hold()
    reader = InThread(lambda: read(cache, "cold"))
    server.wait_for_requests(2)
    child = Child(lambda: read(cache, "cold"))
    (childs,) = server.wait_for_requests(1, child.pid)
    server.release()
    assert child.result() == dataclasses.asdict(Answer("cold", childs.serial, child.pid))
    # After half a second without an answer on a connection that was used before, it has asked on another one.
    mine = [one for one in server.requests if one.process == os.getpid()][1:]
    assert reader.result() in [dataclasses.asdict(Answer("cold", one.serial, os.getpid())) for one in mine]
    assert childs.connection not in {one.connection for one in mine}


FORK_IN_THE_MIDDLE_OF_AN_IMPORT = """
import sys, threading
from test_processes import Child, make_cache, read

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "botocore.client":
            importing.set()

importing = threading.Event()
sys.meta_path.insert(0, Finder())
assert "botocore" not in sys.modules
import encodings.idna
cache = make_cache(sys.argv[1])
reader = threading.Thread(target=cache.get, args=["cold"])
reader.start()
assert importing.wait(5)
print(Child(lambda: read(cache, "cold")).result()["secret_id"])
reader.join()
cache.close()
"""


def test_a_fork_while_the_first_read_imports_botocore(server: KeepAliveSecretsManager) -> None:
    """A module that is half imported when its process forks can never be imported in the child."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK_IN_THE_MIDDLE_OF_AN_IMPORT, server.url]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)  # noqa: S603
    assert (done.stdout, done.returncode) == ("cold\n", 0), done.stderr


def test_a_fork_waits_until_no_thread_is_half_way_through_a_change(open_cache: OpenCache) -> None:
    cache = open_cache()
    cache.get("warm")
    wanted, half_way = threading.Event(), threading.Event()
    lock = _Told(cache._engine.lock, wanted)
    cache._engine.lock = lock

    def change() -> bool:
        with lock.real:
            half_way.set()
            fork_came = wanted.wait(PATIENCE / 2)
            half_way.clear()
        return fork_came

    changing = InThread(change)
    assert half_way.wait(PATIENCE)
    child = Child(half_way.is_set)
    assert changing.result(), "the fork takes the lock"
    assert child.result() is False, "the child sees the change whole"


class _Told:
    """A lock that tells when somebody is about to take it."""

    def __init__(self, real: Lock, wanted: threading.Event) -> None:
        self.real, self._wanted = real, wanted

    def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as threading's
        self._wanted.set()
        return self.real.acquire(blocking)

    def release(self) -> None:
        self.real.release()

    def _is_owned(self) -> bool:
        return self.real._is_owned()

    def __enter__(self) -> object:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def test_parent_and_child_both_go_on_refreshing(server: KeepAliveSecretsManager, open_cache: OpenCache) -> None:
    cache = open_cache(ttl=BRISK)
    cache.get("brisk")
    server.wait_for_requests(2)  # the second is the background's
    with Leash() as leash:
        child = Child(lambda: go_on_refreshing(cache, leash))
        # The background asks once a second at most, however short ttl is.
        server.wait_for_requests(3, child.pid)
        server.wait_for_requests(len(own(server.requests, os.getpid())) + 3, os.getpid())
    came, went = child.result()
    assert came["process"] in {os.getpid(), child.pid}, "on a slow machine its ttl may be over before the child reads"
    assert went["request"] in [request.serial for request in own(server.requests, child.pid)[1:]]


class Leash:
    """Holds processes until the test lets go."""

    def __enter__(self) -> Self:
        self._end, self._hand = os.pipe()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._hand)
        os.close(self._end)

    def wait(self) -> None:
        """To be called once in each process that is held: the leash is loose when no process holds it any more."""
        os.close(self._hand)
        os.read(self._end, 1)


def go_on_refreshing(cache: SecretCache, leash: Leash) -> list[dict[str, Any]]:
    """Reads until this process has asked by itself, then no more: that leaves it to the background.

    Returns the first value, and the one that is there at the end.
    """
    came = refreshed = read(cache, "brisk")
    while refreshed["process"] != os.getpid():
        refreshed = read(cache, "brisk")
    leash.wait()
    return [came, read(cache, "brisk")]


def test_forks_while_threads_read_refresh_and_invalidate(
    server: KeepAliveSecretsManager, open_cache: OpenCache
) -> None:
    cache = open_cache(ttl=0.05)
    cache.get("a")  # the client is there: beside busy threads it takes seconds to make
    names = ["a", "b", "c"]
    over = threading.Event()

    def invalidate_and_read(name: str) -> None:
        cache.invalidate(name)
        cache.get(name)

    def again_and_again(do: Callable[[str], Any]) -> int:
        turns = 0
        while not over.wait(0.001):  # the server and the children need the interpreter too
            do(names[turns % len(names)])
            turns += 1
        return turns

    def in_child() -> list[dict[str, Any]]:
        held = [read(cache, name) for name in names]
        cache.invalidate("a")
        return [*held, read(cache, "a")]

    deeds = (cache.get, cache.get, cache.refresh, invalidate_and_read)
    busy = [InThread(partial(again_and_again, deed)) for deed in deeds]
    try:
        for _ in range(15):
            children = [Child(in_child) for _ in range(2)]
            for child in children:
                *held, asked = child.result()
                assert [one["secret_id"] for one in held] == names
                assert {one["process"] for one in held} <= {os.getpid(), child.pid}
                assert (asked["secret_id"], asked["process"]) == ("a", child.pid)
    finally:
        over.set()
    assert min(thread.result() for thread in busy) > 10


# Forks without Python's hooks


def test_without_hooks_a_child_keeps_the_values_and_leaves_the_parents_lock_alone(
    server: KeepAliveSecretsManager, open_cache: OpenCache
) -> None:
    cache = open_cache()
    mine = read(cache, "warm")

    def in_child() -> list[Any]:
        kept, asked = read(cache, "warm"), read(cache, "cold")
        cache.invalidate("warm")
        return [os.getpid(), kept, asked, read(cache, "warm"), cache.stats().entries, chance(cache)]

    def fork_twice() -> list[Any]:
        with cache._engine.lock:  # of another thread or of this one: nobody in the children will ever release it
            children = [Child(in_child, fork_without_hooks) for _ in range(2)]
        told = [child.result() for child in children]
        return [os.getpid(), read(cache, "cold"), chance(cache), *told]

    parent, parents, parents_chance, *told = quietly(fork_twice)
    for pid, kept, asked, asked_again, held, _ in told:
        assert kept == mine, "a warm value is inherited, and costs no request"
        assert [(one["secret_id"], one["process"]) for one in (asked, asked_again)] == [("cold", pid), ("warm", pid)]
        assert held == 2
    assert parents["process"] == parent
    assert all_differ(parents_chance, *(chances for *_, chances in told)), "no two processes jitter alike"
    assert len({request.connection for request in server.requests}) == 4


def test_without_hooks_a_child_joins_no_flight_of_its_parent(
    server: KeepAliveSecretsManager, open_cache: OpenCache
) -> None:
    cache = open_cache()
    cache.get("warm")

    def fork_in_flight() -> list[Any]:
        no_thread: Any = SimpleNamespace(join=lambda _: None)
        cache._runtime.spawn = lambda *_: no_thread  # type: ignore[method-assign] # so the flight has no end
        with suppress(SecretUnavailableError):
            cache.get("cold", timeout=0.01)
        assert cache._engine._loads.open
        child = Child(lambda: read(cache, "cold"), fork_without_hooks)
        return [child.pid, child.result()]

    child, asked = quietly(fork_in_flight)
    assert (asked["secret_id"], asked["process"]) == ("cold", child)


@pytest.mark.skipif(
    sys.version_info < (3, 11),
    reason="CPython 3.10: after a fork past its hooks one process's periodic thread stops; its readers refresh instead",
)
def test_without_hooks_parent_and_child_both_go_on_refreshing(
    server: KeepAliveSecretsManager, open_cache: OpenCache
) -> None:
    cache = open_cache(ttl=BRISK)
    cache.get("brisk")

    def fork_once() -> list[Any]:
        child = Child(lambda: go_on_refreshing(cache, leash), fork_without_hooks)
        mine = go_on_refreshing(cache, leash)
        return [(os.getpid(), *mine), (child.pid, *child.result())]

    def both_refresh(requests: list[Request]) -> bool:
        times = Counter(request.process for request in requests if request.process != me)
        return sum(count >= 5 for count in times.values()) == 2

    me = os.getpid()
    with Leash() as leash:
        parent = Child(fork_once)
        server.wait_for(both_refresh)
    for pid, came, went in parent.result():
        assert came["process"] in {me, pid}, "on a slow machine its ttl may be over before it reads"
        assert went["request"] in [request.serial for request in own(server.requests, pid)[3:]]


# multiprocessing


def test_multiprocessing(server: KeepAliveSecretsManager, open_cache: OpenCache) -> None:
    cache = open_cache()
    mine = read(cache, "warm")
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def in_child() -> None:
        bound()
        there.send([read(cache, "warm"), read(cache, "cold")])

    child = context.Process(target=in_child)
    child.start()
    with here, there:
        assert here.poll(PATIENCE), "the child did not finish"
        kept, asked = here.recv()
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert kept == mine
    (request,) = own(server.requests, child.pid or 0)
    assert asked == dataclasses.asdict(Answer("cold", request.serial, request.process))


_pool_reads: Callable[[str], dict[str, Any]]


def _read_in_pool(secret_id: str) -> tuple[int, dict[str, Any]]:
    return os.getpid(), _pool_reads(secret_id)


def test_a_process_pool(server: KeepAliveSecretsManager, open_cache: OpenCache) -> None:
    global _pool_reads  # noqa: PLW0603 - what a pool's worker calls is found by name
    cache = open_cache()
    mine = read(cache, "warm")
    _pool_reads = lambda secret_id: read(cache, secret_id)  # noqa: E731
    names = ["warm", *(f"cold/{number}" for number in range(20))]
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork"), bound) as pool:
        told = list(pool.map(_read_in_pool, names, timeout=PATIENCE))
    assert told[0][1] == mine
    assert [answer["secret_id"] for _, answer in told] == names
    for pid, answer in told[1:]:
        assert answer["process"] == pid != os.getpid()


# Servers that fork


@dataclasses.dataclass(frozen=True)
class Served:
    """One answer of a worker."""

    pid: int
    name: str
    threads: list[str]
    answer: Answer


class Site:
    """A server of applications, in processes of its own, and its visitors."""

    def __init__(self, command: list[str], listener: socket.socket, secrets_manager: str, log: Path) -> None:
        self._address: tuple[str, int] = listener.getsockname()
        self._log = log
        with log.open("wb") as output:
            self._server = subprocess.Popen(  # noqa: S603
                [sys.executable, *command],
                env=environment(SECRETS_MANAGER_URL=secrets_manager, BRISK_TTL="1"),
                pass_fds=[listener.fileno()],
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        # From here on the socket is the server's alone: when the server is gone, its visitors know it at once.
        listener.close()

    @property
    def pid(self) -> int:
        return self._server.pid

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """An answer to one visitor. The first waits in the socket's queue until the server is up."""
        try:
            return self._get(path, **query)
        except http.client.RemoteDisconnected:  # uWSGI's threads drop a connection now and then: a visitor comes again
            return self._get(path, **query)

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        visitor = http.client.HTTPConnection(self._address[0], self._address[1], timeout=PATIENCE)
        try:
            visitor.request("GET", f"{path}?{urlencode(query)}")
            response = visitor.getresponse()
            body = response.read()
            assert response.status == 200, f"{response.status} {body!r}"
            told: dict[str, Any] = json.loads(body)
        except http.client.RemoteDisconnected:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise AssertionError(f"{error!r}; the server's log:\n{self._log.read_text()}") from error
        finally:
            visitor.close()
        return told

    def read(self, cache: str, secret_id: str) -> Served:
        told = self.get("/read", cache=cache, id=secret_id)
        return Served(**{**told, "answer": Answer(**told["answer"])})

    def stop(self) -> int:
        """Ends it as a supervisor would; returns its exit code."""
        self._server.terminate()
        try:
            return self._server.wait(PATIENCE)
        finally:
            self.kill()

    def kill(self) -> None:
        if self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(PATIENCE)


def environment(**more: str) -> dict[str, str]:
    """For a Python that finds what this one finds."""
    here = Path(__file__).parent
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(here), str(here / "apps"), *filter(None, sys.path)]),
        **more,
    }


@contextmanager
def site(command: Callable[[int], list[str]], secrets_manager: str, log: Path) -> Iterator[Site]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    made = Site(command(listener.fileno()), listener, secrets_manager, log)
    try:
        yield made
    finally:
        made.kill()


def gunicorn(listener: int) -> list[str]:
    options = ["--preload", "--worker-class=gthread", "--workers=2", "--threads=4", f"--bind=fd://{listener}"]
    return ["-m", "gunicorn", *options, "wsgi_app:application"]


def uwsgi(*arguments: str | int) -> list[str]:
    *more, listener = arguments
    options = ["--master", "--processes=2", "--enable-threads", "--die-on-term", "--need-app", *map(str, more)]
    command = "import pyuwsgi; pyuwsgi.run()"
    return ["-c", command, *options, f"--http-socket=fd://{listener}", "--module=wsgi_app:application"]


SITES = [
    pytest.param("gunicorn", gunicorn, id="gunicorn --preload"),
    pytest.param("pyuwsgi", uwsgi, id="uWSGI prefork"),
    pytest.param("pyuwsgi", partial(uwsgi, "--threads=4"), id="uWSGI with threads"),
    pytest.param("pyuwsgi", partial(uwsgi, "--py-call-uwsgi-fork-hooks"), id="uWSGI that fires the hooks"),
]


@pytest.mark.parametrize(("module", "command"), SITES)
def test_a_server_that_forks_its_workers(
    server: KeepAliveSecretsManager, tmp_path: Path, module: str, command: Callable[[int], list[str]]
) -> None:
    need(module)
    with site(command, server.url, tmp_path / "log") as running:
        assert running.get("/pid")["pid"] != running.pid
        served = visit_until(running, lambda: both_refreshed(server.requests, running.pid))
        assert running.stop() == 0
    requests = server.requests
    workers = {one.pid for one in served}
    assert len(workers) == 2
    assert running.pid not in workers
    assert "secretcache-refresh" in served[0].threads, "the background was at work before the fork"
    for one in served:
        request = requests[one.answer.request]
        assert request.secret_ids == (one.answer.secret_id,) == (one.name,), "the answer is of the secret asked for"
        assert request.process in (one.pid, running.pid), "it is the worker's own, or was inherited"
    inherited = {one.answer.process for one in served if one.name == "steady"}
    assert inherited == {running.pid}, "a value warm before the fork is not asked for again"


def visit_until(running: Site, enough: Callable[[], bool]) -> list[Served]:
    """Visits from four threads, of warm, of cold and of short-lived secrets, until there were enough of them."""
    deadline = time.monotonic() + PATIENCE

    def visitor(number: int) -> list[Served]:
        served: list[Served] = []
        while not enough() and time.monotonic() < deadline:
            cold = f"cold/{number}/{len(served)}"
            served += [running.read(*what) for what in (("steady", "steady"), ("brisk", "brisk"), ("steady", cold))]
        return served

    with ThreadPoolExecutor(4) as visitors:
        served = [one for those in visitors.map(visitor, range(4)) for one in those]
    assert enough(), f"both workers refresh; served: {Counter(one.pid for one in served)}"
    return served


def both_refreshed(requests: list[Request], parent: int) -> bool:
    """Whether two processes beside the parent have refreshed the short-lived secret."""
    times = Counter(one.process for one in requests if one.process != parent and "brisk" in one.secret_ids)
    return sum(count >= 2 for count in times.values()) == 2
