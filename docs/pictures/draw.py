"""Draws outage.svg, rotation.svg and demo.svg from a run of `secretcache demo`.

    python docs/pictures/draw.py            plays the demo, writes what was seen to demo.json, and draws
    python docs/pictures/draw.py --again    draws what demo.json has

Needs the extras `demo` and `bench` (matplotlib).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from rich.console import Console
from rich.text import Text
from typing_extensions import Self

from secretcache._demo import rotation, scenario
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.report import ActReport, verdict
from secretcache._demo.rotation_view import RotationMoment
from secretcache._demo.screen import Moment, Snapshot

HERE = Path(__file__).parent
FIGURES = HERE / "demo.json"
THREADS, SECONDS = 4, 8.5
OURS, RAW, OLD, NEW = "#3f51b5", "#c62828", "#90caf9", "#a5d6a7"
REGIONS = {scenario.OSAKA: ("Osaka", "#00897b"), scenario.TOKYO: ("Tokyo", "#ef6c00")}
Row = dict[str, Any]


class Recorder:
    """A screen that keeps what it is shown."""

    def __init__(self) -> None:
        self.outage: list[Row] = []
        self.rotation: list[Row] = []
        self.panels: dict[str, Moment] = {}
        """The last moment of each title."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def say(self, line: str) -> None:
        """Shows a line."""
        print(line, flush=True)

    def show(self, moment: Moment) -> None:
        """Keeps the figures of a moment."""
        if isinstance(moment, Snapshot):
            self.outage.append(_of_outage(moment))
            self.panels[moment.title] = moment
        elif isinstance(moment, RotationMoment):
            self.rotation.append(_of_rotation(moment))
            self.panels[moment.title] = moment

    def close_with(self, reports: Sequence[ActReport]) -> None:
        """Ends the play."""
        print(verdict(reports))


def _of_outage(now: Snapshot) -> Row:
    answers = {region: stats.answers for region, stats in now.regions.items()}
    return {
        "at": round(now.elapsed, 2),
        "phase": now.title,
        "reads": now.reads,
        "errors": now.errors,
        "answers": answers,
        "raw_answers": now.raw_answers,
        "raw_errors": now.raw_errors,
    }


def _of_rotation(now: RotationMoment) -> Row:
    shown = now.shown
    return {
        "at": round(now.elapsed, 2),
        "step": now.title.removeprefix("rotation: "),
        "shown": [shown.database, shown.primary, shown.replica, shown.cache],
        "connect": [now.bridged.tried, now.bridged.refused],
        "alone": [now.alone.tried, now.alone.refused],
    }


def play() -> Row:
    """Plays both acts; returns the figures, and writes the frames."""
    recorder = Recorder()
    reports = [
        scenario.perform(recorder, THREADS, SECONDS, SECONDS * len(scenario.PHASES)),
        rotation.perform(recorder, EmbeddedPostgres(), offset=0.0, total=rotation.seconds_at(1.0)),
    ]
    recorder.close_with(reports)
    if any(report.reasons() for report in reports):
        sys.exit("the demo did not show what it is meant to show: nothing is drawn")
    draw_frames(recorder, reports)
    return {"outage": recorder.outage, "rotation": recorder.rotation, "verdict": verdict(reports)}


def draw_frames(recorder: Recorder, reports: Sequence[ActReport]) -> None:
    """Two moments and the last line, as the terminal shows them."""
    console = Console(record=True, width=80, file=Path("/dev/null").open("w"), force_terminal=True)  # noqa: SIM115
    console.print(Text("$ secretcache demo"))
    for title in ("Osaka silent", "rotation: testSecret"):
        console.print(recorder.panels[title].panel())
    console.print(Text(verdict(reports), style="bold green"))
    svg = console.export_svg(title="secretcache demo")
    # The fonts it names lie on other hosts.
    (HERE / "demo.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL))
    console.file.close()


def draw_outage(rows: Sequence[Row], folder: Path) -> None:
    """Reads a second, who answered the cache, and raw boto3 beside it."""
    figure, (reads, answers, failures) = plt.subplots(3, 1, sharex=True, figsize=(8, 5.2), height_ratios=(2, 2, 2))
    times = [row["at"] for row in rows]
    reads.plot(*_rate(rows, lambda row: row["reads"]), color=OURS)
    reads.set_ylabel("reads / s")
    reads.set_title("The application's reads, through the cache", loc="left", fontsize=10)
    for region, (name, color) in REGIONS.items():
        answers.plot(*_rate(rows, partial(_answers_of, region)), color=color, label=name)
    answers.set_ylabel("answers / s")
    answers.set_title("Who answered the cache's calls", loc="left", fontsize=10)
    failures.plot(times, [row["errors"] for row in rows], color=OURS, label="through the cache")
    failures.plot(times, [row["raw_errors"] for row in rows], color=RAW, label="boto3, Osaka only")
    failures.set_ylabel("failed reads")
    failures.set_title("Reads that failed, until then", loc="left", fontsize=10)
    failures.set_xlabel("seconds")
    for axes in (answers, failures):
        axes.legend(loc="upper left", fontsize=8, frameon=False)
    begin, end = _span(rows, lambda row: row["phase"] == "Osaka silent")
    for axes in (reads, answers, failures):
        axes.axvspan(begin, end, color="#ffebee", zorder=0)
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    reads.text((begin + end) / 2, reads.get_ylim()[1] * 0.06, "Osaka is silent", ha="center", color="#b71c1c")
    _save(figure, folder / "outage.svg")


def draw_rotation(rows: Sequence[Row], folder: Path) -> None:
    """Who has which password, and the refused logins of both ways."""
    figure, (passwords, refused) = plt.subplots(2, 1, sharex=True, figsize=(8, 4.4), height_ratios=(3, 3))
    names = ("the database takes", "AWSCURRENT in Tokyo", "AWSCURRENT in Osaka", "the cache has")
    end = rows[-1]["at"]
    for line, name in enumerate(names):
        change = next((row["at"] for row in rows if row["shown"][line] == "new"), end)
        passwords.broken_barh([(0, change)], (-line - 0.4, 0.8), color=OLD)
        passwords.broken_barh([(change, end - change)], (-line - 0.4, 0.8), color=NEW)
        passwords.text(change / 2, -line, f"{name}: old", ha="center", va="center", fontsize=8)
        passwords.text((change + end) / 2, -line, "new", ha="center", va="center", fontsize=8)
    passwords.set_yticks([])
    passwords.set_title("Which password", loc="left", fontsize=10)
    times = [row["at"] for row in rows]
    for arm, color, label in (("connect", OURS, "through connect"), ("alone", RAW, "AWSCURRENT alone")):
        tried, failed = rows[-1][arm]
        refused.plot(times, [row[arm][1] for row in rows], color=color, label=f"{label}: {failed} of {tried} logins")
    refused.set_title("Logins refused, as the application sees it, until then", loc="left", fontsize=10)
    refused.set_xlabel("seconds")
    refused.legend(loc="upper left", fontsize=8, frameon=False)
    begin, _ = _span(rows, lambda row: row["step"] == "setSecret")
    _, over = _span(rows, lambda row: row["step"] == "finishSecret")
    refused.axvspan(begin, over, color="#ffebee", zorder=0)
    _save(figure, folder / "rotation.svg")


def _answers_of(region: str, row: Row) -> float:
    return float(row["answers"][region])


def _rate(rows: Sequence[Row], pick: Callable[[Row], float], window: float = 1.0) -> tuple[list[float], list[float]]:
    """A count as so many a second, over the last second."""
    times, rates, first = [], [], 0
    for row in rows:
        while row["at"] - rows[first + 1]["at"] >= window:
            first += 1
        if row["at"] > rows[first]["at"]:
            times.append(row["at"])
            rates.append((pick(row) - pick(rows[first])) / (row["at"] - rows[first]["at"]))
    return times, rates


def _span(rows: Sequence[Row], is_in: Callable[[Row], bool]) -> tuple[float, float]:
    inside = [row["at"] for row in rows if is_in(row)]
    return inside[0], inside[-1]


def _save(figure: Any, path: Path) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw(figures: Row, folder: Path = HERE) -> None:
    """Both plots; the same figures give the same pictures."""
    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "secretcache", "font.family": "sans-serif"})
    draw_outage(figures["outage"], folder)
    draw_rotation(figures["rotation"], folder)


def main() -> None:
    """Plays unless told not to, and draws."""
    if "--again" not in sys.argv[1:]:
        FIGURES.write_text(json.dumps(play(), separators=(",", ":")) + "\n")
    draw(json.loads(FIGURES.read_text()))


if __name__ == "__main__":
    main()
