"""The demo as its user runs it, and what makes it fail."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import secretcache
from secretcache import _cli
from secretcache._demo.report import PhaseResult, Report, verdict
from secretcache._demo.scenario import OSAKA, PHASES, TOKYO, TTL, VALUE_PREFIX

LONGEST = 120.0

# It takes SIGINT even where the tests run in the background, and tells which threads are left at the end.
INTERRUPTIBLE = """
import signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
from secretcache._cli import main
sys.argv[1:] = ["demo"]
try:
    main()
finally:
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in others:
        thread.join(5)
    print("threads left:", [thread.name for thread in others if thread.is_alive()], flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """A demo that has ended."""

    code: int
    out: str
    err: str
    seconds: float

    def row(self, label: str) -> list[str]:
        """The cells of a row of the final table: one for each phase, and the total."""
        (found,) = re.findall(rf"^ *{re.escape(label)}  +(\S.*)$", self.out, re.MULTILINE)
        return re.split(r"  +", found.strip())

    def counts(self, label: str) -> list[int]:
        """The same as numbers."""
        return [int(cell.replace(",", "")) for cell in self.row(label)]

    def longest(self, label: str) -> float:
        """The total of a row of seconds: which phase it fell in depends on the moment at which the phase changed."""
        return float(self.row(label)[-1].removesuffix(" s"))


def environment(**variables: str) -> dict[str, str]:
    root = str(Path(secretcache.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **variables}


def demo(*options: str, **variables: str) -> Ended:
    begun = time.monotonic()
    ran = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "secretcache", "demo", *options],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=environment(**variables),
        timeout=LONGEST,
    )
    return Ended(ran.returncode, ran.stdout, ran.stderr, time.monotonic() - begun)


@pytest.fixture(scope="module")
def ended() -> Ended:
    return demo("--act", "outage", "--seconds-per-phase", "3", FORCE_COLOR="1", PYTHONUTF8="1", COLUMNS="40")


def test_it_passes_with_its_output_piped(ended: Ended) -> None:
    assert (ended.code, ended.err) == (0, ""), ended.out
    assert ended.out.splitlines()[-1].startswith("PASSED: ")
    assert ended.seconds < LONGEST


def test_no_read_of_the_application_fails(ended: Ended) -> None:
    assert ended.counts("errors seen by it") == [0, 0, 0, 0]


def test_osaka_answers_before_and_after_and_tokyo_in_between(ended: Ended) -> None:
    osaka, tokyo = ended.counts(f"from {OSAKA}"), ended.counts(f"from {TOKYO}")
    assert osaka[0] > 0
    assert osaka[2] > 0
    assert tokyo[1] > 0


def test_most_reads_are_hits(ended: Ended) -> None:
    reads, hits = ended.counts("reads by the application"), ended.counts("of them hits")
    assert 0.99 * reads[-1] < hits[-1] < reads[-1]


def test_a_silent_region_is_waited_for_and_then_left(ended: Ended) -> None:
    assert 0.4 < ended.longest("longest wait of a reader") < 5


def test_calls_are_those_that_reached_the_endpoints(ended: Ended) -> None:
    assert ended.counts(f"calls to {TOKYO}")[-1] == ended.counts(f"requests at {TOKYO}")[-1]
    answered_to_raw = ended.counts("raw boto3: answers")[-1]
    assert ended.counts(f"requests at {OSAKA}")[-1] >= ended.counts(f"calls to {OSAKA}")[-1] + answered_to_raw


def test_raw_boto3_reads_at_the_same_time_and_waits_longer_than_its_timeout(ended: Ended) -> None:
    assert min(ended.counts("raw boto3: answers")[::2]) > 0
    assert ended.longest("raw boto3: longest wait") > 1
    assert "timeouts cut from 60 s to 1 s" in ended.out


def test_plain_lines_tell_of_each_phase_and_second_without_ansi_codes(ended: Ended) -> None:
    assert "\x1b" not in ended.out
    for phase in PHASES:
        assert f" s  {phase.title}: {phase.caption}\n" in ended.out
    assert ended.out.count("reads/s") >= 6


def test_no_value_is_shown(ended: Ended) -> None:
    assert VALUE_PREFIX not in ended.out + ended.err


def test_its_ttl_lets_the_outage_be_felt() -> None:
    assert TTL <= 2


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process on Windows")
def test_an_interrupt_ends_it_during_the_outage_and_leaves_no_thread() -> None:
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", INTERRUPTIBLE.replace('"demo"', '"demo", "--seconds-per-phase", "1.5"')],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(),
    ) as running:
        assert running.stdout is not None
        assert any(PHASES[1].title in line for line in running.stdout)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=LONGEST)
    assert (running.returncode, err) == (130, "interrupted\n")
    assert out.splitlines()[-1] == "threads left: []"


class Terminal(io.StringIO):
    """A standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    threads_before = set(threading.enumerate())
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for variable, value in (("TERM", "xterm"), ("COLUMNS", "80")):
        monkeypatch.setenv(variable, value)
    code = run_main(monkeypatch, "demo", "--act", "outage", "--seconds-per-phase", "3", "--threads", "1")
    shown = terminal.getvalue()
    assert code == 0, shown[-2000:]
    assert "\x1b[" in shown
    assert "reads a second" in shown
    assert "PASSED: " in shown
    assert VALUE_PREFIX not in shown
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", shown).replace("\r", "\n").splitlines()
    assert max(len(line) for line in lines if "\u2502" in line) <= 80
    left = [thread for thread in threading.enumerate() if thread not in threads_before]
    for thread in left:
        thread.join(5)
    assert [thread.name for thread in left if thread.is_alive()] == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--threads", "0"), "'--threads': must be from 1 to 64, got 0"),
        (("--threads", "65"), "'--threads': must be from 1 to 64, got 65"),
        (("--threads", "many"), "'--threads'"),
        (("--seconds-per-phase", "-1"), "'--seconds-per-phase': must be from 1 to 120 seconds, got -1"),
        (("--seconds-per-phase", "nan"), "'--seconds-per-phase': must be from 1 to 120 seconds, got nan"),
    ],
)
def test_an_unsound_option_is_refused_by_name(
    options: tuple[str, str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "demo", *options) == 2
    assert told in capsys.readouterr().err


def test_it_tells_its_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"secretcache {secretcache.__version__}\n"


@pytest.mark.parametrize("module", ["typer", "rich"])
def test_without_typer_or_rich_it_tells_what_to_install(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert run_main(monkeypatch, "demo") == 2
    assert 'pip install "secretcache[cli]"' in capsys.readouterr().err


def test_without_moto_it_tells_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("moto", "moto.server"):
        monkeypatch.setitem(sys.modules, module, None)
    assert run_main(monkeypatch, "demo") == 2
    assert 'pip install "secretcache[demo]"' in capsys.readouterr().err


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    monkeypatch.setattr(sys, "argv", ["secretcache", *arguments])
    with pytest.raises(SystemExit) as ending:
        _cli.main()
    return ending.value.code


def phase(title: str, region: str) -> PhaseResult:
    return PhaseResult(
        title=title,
        answers_from=region,
        reads=1000,
        waits=10,
        errors=0,
        first_error=None,
        longest=0.5,
        cold_reads=3,
        cold_answers={region: 3},
        calls={region: 5},
        requests={region: 9},
        raw_answers=4,
        raw_errors=0,
        raw_longest=0.1,
    )


def good_report() -> Report:
    phases = [phase("before", OSAKA), phase("outage", TOKYO), phase("after", OSAKA)]
    return Report(phases=phases, regions=(OSAKA, TOKYO))


def with_phase(number: int, **changes: Any) -> Report:
    phases = list(good_report().phases)
    phases[number] = replace(phases[number], **changes)
    return replace(good_report(), phases=phases)


def test_a_good_report_passes() -> None:
    assert good_report().reasons() == []
    assert verdict([good_report()]).startswith("PASSED: 3,000 reads, 0 errors")


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (
            lambda: with_phase(1, errors=2, first_error="SecretUnavailableError: no region"),
            "outage: 2 reads of the application failed, the first with SecretUnavailableError: no region",
        ),
        (lambda: with_phase(0, cold_answers={TOKYO: 3}), f"before: {OSAKA} answered no read of a new secret"),
        (lambda: with_phase(2, cold_answers={TOKYO: 3}), f"after: {OSAKA} answered no read of a new secret"),
        (lambda: with_phase(1, cold_answers={OSAKA: 3}), f"outage: {TOKYO} answered no read of a new secret"),
        (lambda: with_phase(1, cold_reads=0, cold_answers={}), "outage: no new secret was read"),
        (lambda: replace(good_report(), unended=["reader-1"]), "reading threads did not end: reader-1"),
    ],
)
def test_each_way_to_fail_is_named(report: Callable[[], Report], why: str) -> None:
    assert verdict([report()]) == f"FAILED: {why}"


def test_every_reason_is_told() -> None:
    report = with_phase(0, errors=1, first_error="KeyError", cold_reads=0)
    assert verdict([report]).count("before: ") == 2


def test_the_table_fits_eighty_columns() -> None:
    long_run = with_phase(1, reads=123_456_789, requests={OSAKA: 99_999, TOKYO: 1})
    screen = io.StringIO()
    Console(file=screen, width=80).print(long_run.table())
    rows = [line.split() for line in screen.getvalue().splitlines()]
    assert ["of", "them", "hits", "990", "123,456,779", "990", "123,458,759"] in rows
    assert ["longest", "wait", "of", "a", "reader", *["0.50", "s"] * 4] in rows
    assert ["requests", "at", OSAKA, "9", "99,999", "9", "100,017"] in rows
