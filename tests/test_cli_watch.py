"""`secretcache watch`, as its user runs it: in a pipe, on a terminal, until Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import secretcache
from command_line import CANARY, Desk, assert_golden
from secretcache._cli.common import say
from secretcache._cli.watch import _Watch
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Refuse
from secretcache._transport import Fault
from support import OSAKA, TOKYO, House, failure

LONGEST = 60.0
JSON = json.dumps({"password": CANARY})


@pytest.fixture
def desk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], manager: EmbeddedSecretsManager
) -> Desk:
    desk = Desk(tmp_path, monkeypatch, capsys)
    desk.endpoints(manager.endpoint_urls)
    return desk


@pytest.fixture
def secret(manager: EmbeddedSecretsManager) -> str:
    name = f"watch/{time.monotonic_ns()}"
    manager.create(name, JSON)
    return name


class Running:
    """A `secretcache` of its own process, whose lines are read as they come."""

    def __init__(self, *arguments: str) -> None:
        root = str(Path(secretcache.__file__).parents[1])
        # It takes SIGINT even where the tests run in the background.
        code = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from secretcache._cli import main
main()"""
        self.process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": root},
        )
        self.lines: list[str] = []
        self._end = threading.Timer(LONGEST, self.process.kill)
        self._end.start()

    def until(self, form: str) -> None:
        """Returns when a line that matches was shown."""
        assert self.process.stdout is not None
        while not any(re.search(form, line) for line in self.lines):
            line = self.process.stdout.readline()
            assert line, f"no {form!r} in {self.lines}; {self.process.stderr and self.process.stderr.read()}"
            self.lines.append(line)

    def end(self) -> None:
        self._end.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def begin(*arguments: str) -> Running:
        started.append(Running(*arguments))
        return started[-1]

    yield begin
    for one in started:
        one.end()


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process on Windows")
def test_it_follows_versions_and_regions_in_a_pipe_until_ctrl_c(
    desk: Desk, manager: EmbeddedSecretsManager, secret: str, start: Callable[..., Running]
) -> None:
    watching = start("watch", secret, "--interval", "1")
    watching.until(rf"^\S+Z  {secret}: version \S+ \(AWSCURRENT\) from {OSAKA}$")
    version = manager.rotate(secret, JSON.replace("password", "p"))
    watching.until(rf"rotation: \S+; {secret}; {version}; AWSCURRENT is {version}, was ")
    manager.proxies[OSAKA].set_fault(Refuse())
    watching.until(rf"failover: {TOKYO}; answers now, instead of {OSAKA}$")
    watching.until(rf"{secret}: version {version} \(AWSCURRENT\) from {TOKYO}")
    watching.until(rf"breaker: {OSAKA}; open; ")
    watching.process.send_signal(signal.SIGINT)
    out, err = watching.process.communicate(timeout=LONGEST)
    assert (watching.process.returncode, err) == (130, "interrupted\n")
    shown = "".join(watching.lines) + out
    assert CANARY not in shown
    assert "\x1b" not in shown


@pytest.mark.skipif(os.name == "nt", reason="there are no such terminals on Windows")
def test_a_terminal_is_drawn_upon_until_ctrl_c(desk: Desk, secret: str) -> None:
    child, shown = _in_terminal("watch", secret, "--interval", "1", until=f"{OSAKA} ")
    assert child == 130
    assert "\x1b[" in shown
    assert "interrupted" in shown
    assert CANARY not in shown


# Its terminal is its own: Ctrl-C there is a signal to it.
ON_A_TERMINAL = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from secretcache._cli import main
main()"""


def _in_terminal(*arguments: str, until: str) -> tuple[int, str]:
    """Runs a command on a terminal of its own, and presses Ctrl-C once that was shown."""
    import pty  # noqa: PLC0415 - not on every system

    root = str(Path(secretcache.__file__).parents[1])
    terminal, inner = pty.openpty()
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", ON_A_TERMINAL, *arguments],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": root, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    ) as child:
        os.close(inner)
        shown = _watch_and_press(child, terminal, until)
    os.close(terminal)
    return child.returncode, shown


def _watch_and_press(child: subprocess.Popen[bytes], terminal: int, until: str) -> str:
    shown, pressed, deadline = "", False, time.monotonic() + LONGEST
    while (part := _read(terminal)) is not None:
        shown += part
        if until in shown and not pressed:
            os.write(terminal, b"\x03")
            pressed = True
        if time.monotonic() > deadline:
            child.kill()
    return shown


def _read(terminal: int) -> str | None:
    """What was drawn within a second; None at the end, which Linux tells by an error."""
    if not select.select([terminal], [], [], 1.0)[0]:
        return ""
    try:
        return os.read(terminal, 65536).decode("utf-8", "replace") or None
    except OSError:
        return None


def test_a_reader_that_has_seen_enough_ends_it(
    desk: Desk, manager: EmbeddedSecretsManager, secret: str, start: Callable[..., Running]
) -> None:
    watching = start("watch", secret, "--interval", "1")
    watching.until(rf"{secret}: version")
    assert watching.process.stdout is not None
    assert watching.process.stderr is not None
    watching.process.stdout.close()
    manager.rotate(secret, JSON.replace("password", "p"))  # there is something to say, and nobody to hear it
    manager_says = watching.process.stderr.read()
    assert watching.process.wait(LONGEST) in {0, 1}
    assert "Traceback" not in manager_says


def test_its_transcript(desk: Desk, manager: EmbeddedSecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    manager.create("watch/golden", JSON)
    seen: set[str] = set()

    def until_both_are_told(line: str) -> None:
        say(line)
        seen.update(name for name in ("watch/golden", "no/such") if f"Z  {name}: " in line)
        if len(seen) == 2:
            seen.clear()
            raise KeyboardInterrupt

    monkeypatch.setattr("secretcache._cli.watch.say", until_both_are_told)
    ended = desk.run("watch", "watch/golden", "no/such", "--interval", "60")
    text = re.sub(r"^.*failover: .*\n", "", ended.transcript, flags=re.MULTILINE)  # which of them comes first may vary
    text = re.sub(r"\d+ calls \(\S+ USD\), \d+ saved", "N calls (N USD), N saved", text)
    assert_golden("watch", "".join(sorted(text.splitlines(keepends=True))))


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_a_terminal_of_any_width(desk: Desk, secret: str, columns: int) -> None:
    ended = desk.run_in_terminal("watch", secret, "--interval", "60", "--for", "2", columns=columns)
    assert ended.code == 0
    assert OSAKA[:5] in ended.out
    assert max(map(len, ended.out.splitlines())) <= columns


def test_a_line_is_written_when_something_changes_and_not_else() -> None:
    house = House(ttl=10, refresh="background")
    watched = _Watch(house.cache, ("prod/db", "no/such"))
    house.cache.add_event_hook(watched._noticed)
    watched._read_once("prod/db")
    watched._read_once("prod/db")
    (line,) = watched.lines(0.0)
    assert f"prod/db: version 'v1'-0000-0000-0000-000000000000 (AWSCURRENT) from {OSAKA}" in line
    for region in (OSAKA, TOKYO):
        house.fails(region)
    house.pass_time(40)
    watched._read_once("prod/db")
    told = "\n".join(watched.lines(0.0))
    assert told.count("STALE: 40 s old") == 1
    house.pass_time(60)
    assert "stale: ap-northeast-3; prod/db; served; no region answers; a value" in "\n".join(watched.lines(0.0))


def test_a_secret_that_fails_and_a_cache_that_is_closed() -> None:
    house = House()
    house.says(OSAKA, failure(Fault.MISSING, "ResourceNotFoundException"))
    house.says(TOKYO, failure(Fault.MISSING, "ResourceNotFoundException"))
    watched = _Watch(house.cache, ("no/such",))
    assert watched._read_once("no/such")
    assert watched._read_once("no/such")
    (line,) = watched.lines(0.0)
    assert "no/such: SecretNotFoundError: no listed region has secret" in line
    house.cache.close()
    assert not watched._read_once("no/such")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Missing argument 'SECRET"),
        (("a", "--interval", "0.5"), "--interval must be 1 second or more, got 0.5"),
        (("a", "--interval", "nan"), "--interval must be 1 second or more, got nan"),
        (("a", "--interval", "often"), "Input should be a valid number"),
        (("a", "--for", "0"), "--for must be a number of seconds above 0, got 0.0"),
        (("arn:aws:s3:::b",), "is not a Secrets Manager ARN"),
    ],
)
def test_what_was_asked_wrongly_is_told(desk: Desk, arguments: tuple[str, ...], told: str) -> None:
    ended = desk.run("watch", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
