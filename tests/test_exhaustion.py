"""No file descriptor, no thread: every call says so in words of the package's own, and the next one goes on.

Each test is a process of its own, whose limit is low.
"""

from __future__ import annotations

import builtins
import errno
import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from interrupting import make_cache, until_nothing_is_lost
from secretcache import SecretCache, SecretCacheError, SecretUnavailableError
from support import PATIENCE
from test_processes import environment

HEAD = """
import json, os, resource, sys
from interrupting import make_cache, until_nothing_is_lost
from secretcache import SecretCacheError

def exhausted(call):
    taken = []
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 8, limit[1]))
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    try:
        call()
        return "worked"
    except SecretCacheError as error:
        return f"{type(error).__name__} {error}"
    except BaseException as error:
        return f"NOT OURS {type(error).__name__} {error}"
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)

sys.path_importer_cache.clear()
cache = make_cache()
call = lambda: %s
told = exhausted(call)
call()
until_nothing_is_lost(cache, "descriptors")
cache.close()
print(json.dumps(told))
"""
LATE = {  # what each of these imports when it is first called
    "stats": "cache.stats()",
    "region_health": "cache.region_health()",
    "prefetch": "cache.prefetch(['a', 'b'])",
    "connect": "cache.connect('a', lambda secret: secret.name, is_auth_error=lambda error: False)",
    "get_secret_value": "cache.get_secret_value(SecretId='a')",
}


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no limits of a process")
@pytest.mark.parametrize("call", LATE)
def test_without_a_descriptor_a_late_import_is_an_error_of_ours_and_is_made_again(call: str) -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "ignore", "-c", HEAD % LATE[call]],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.startswith("SecretUnavailableError this process could not load"), told
    assert "Too many open files" in told
    assert "the next call tries again" in told


CALLS: dict[str, Callable[[SecretCache], object]] = {
    "stats": lambda cache: cache.stats(),
    "region_health": lambda cache: cache.region_health(),
    "prefetch": lambda cache: cache.prefetch(["a", "b"]),
    "connect": lambda cache: cache.connect("a", lambda secret: secret.name, is_auth_error=lambda _: False),
}
ROOMS = ["secretcache._stats", "secretcache._regions.health", "secretcache._prefetch", "secretcache._connect"]


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "Too many open files"), MemoryError(), ImportError("a .so")])
@pytest.mark.parametrize(("call", "room"), [*zip(CALLS, ROOMS, strict=True)])
def test_what_stops_a_late_import_is_named(
    call: str, room: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module(room)  # what it imports itself is there
    package, _, name = room.rpartition(".")
    real = builtins.__import__

    def no_import(module: str, *args: Any) -> Any:
        if room in (module, f"{module}.{name}") and (module == room or name in (args[2] or ())):
            raise error
        return real(module, *args)

    with make_cache() as cache:
        with monkeypatch.context() as patched:
            patched.delitem(sys.modules, room)
            patched.delattr(sys.modules[package], name, raising=False)
            patched.setattr(builtins, "__import__", no_import)
            with pytest.raises(SecretUnavailableError, match=f"could not load.*{type(error).__name__}"):
                CALLS[call](cache)
        CALLS[call](cache)
        until_nothing_is_lost(cache, call)


@pytest.mark.parametrize("later", [False, True], ids=["a first read", "a later read"])
@pytest.mark.parametrize("refresh", ["on_access", "background"])
@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError("no room for a stack")])
def test_without_a_thread_a_read_says_so_and_the_next_one_goes_on(
    error: Exception, refresh: str, monkeypatch: pytest.MonkeyPatch, *, later: bool
) -> None:
    """`later`: values are held, and the threads that brought them are busy."""
    with make_cache(refresh=refresh) as cache:
        names = [f"cold/{number}" for number in range(3)]
        if later:
            cache.prefetch(names)
            cache.invalidate(names[0])
            for lane in cache._engine._loads._lanes.values():
                _end_threads(lane)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _raising(error))
            with pytest.raises(SecretUnavailableError, match=f"no more threads .{type(error).__name__}: {error}"):
                cache.get(names[0], timeout=PATIENCE)
            if later:
                assert cache.get(names[1]).name == names[1], "what is held is served"
        assert cache.get(names[0]).name == names[0]
        until_nothing_is_lost(cache, "threads")


def _end_threads(lane: Any) -> None:
    # Without an ident it never ran: an interrupt in threading's own start(), in another test, leaves such a one listed.
    threads = [one for one in threading.enumerate() if one.name == lane.name and one.ident is not None]
    lane.close()
    for thread in threads:
        thread.join(PATIENCE)
    while lane._jobs.qsize():
        lane._jobs.get()


def _raising(error: Exception) -> Callable[[threading.Thread], None]:
    def start(_: threading.Thread) -> None:
        raise error

    return start


def test_a_thread_that_cannot_be_started_is_not_counted() -> None:
    """Eight that were, and every later read would wait for its deadline."""
    with make_cache() as cache, pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading.Thread, "start", _raising(RuntimeError("can't start new thread")))
        for number in range(8):
            with pytest.raises(SecretCacheError):
                cache.get(f"cold/{number}", timeout=PATIENCE)
        patched.undo()
        assert cache.get("cold").name == "cold"
