"""The page and its plots, from the results alone: the same results give the same bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["page", "render", "table"]

_INTRO = """# Benchmarks

Made by `{command}` on {date}, at the commit named with each case: {python}, {machine}; {packages}.

Absolute times are this machine's, which is small and shared; the ratios are what counts. Contenders take turns, so that
a noisy moment is noisy for all of them. Given are medians, with the tenth and ninetieth percentile of the turns where
there are turns. What each goal missed was traced to, and what was tried, is in the [decision records](decisions/index.md#speed-and-what-it-cost).
"""


def render(whole: dict[str, Any], folder: Path) -> None:
    """Writes benchmarks.md and benchmarks/*.svg into the folder."""
    plots = folder / "benchmarks"
    plots.mkdir(exist_ok=True)
    for case in whole["cases"]:
        _plot(case, plots / f"{case['name']}.svg")
    (folder / "benchmarks.md").write_text(page(whole), encoding="utf-8")


def page(whole: dict[str, Any]) -> str:
    """The page's text."""
    told = dict(whole["environment"])
    told["packages"] = ", ".join(f"{name} {number}" for name, number in told["packages"].items())
    parts = [_INTRO.format(**told), _summary(whole["cases"])]
    for case in whole["cases"]:
        parts += [f"## {case['title']}\n", f"Commit {case['commit']}. {' '.join(case['notes'])}".rstrip() + "\n"]
        parts += [_rows(case), f"![{case['title']}](benchmarks/{case['name']}.svg)\n"]
    return "\n".join(parts)


def table(case: dict[str, Any]) -> str:
    """A case for a terminal."""
    width = max(len(line["what"]) for line in case["lines"])
    lines = [
        f"  {line['what']:<{width}}  {_number(line['value']):>9} {line['unit']:<15} {_ends(line):<21} {_ratio(line)}  {line['note']}"
        for line in case["lines"]
    ]
    goals = [
        f"  {'ok    ' if goal['holds'] else 'MISSED'} {goal['text']}: {_number(goal['reached'])}"
        for goal in case["goals"]
    ]
    return "\n".join(line.rstrip() for line in [*lines, *goals])


def _summary(cases: list[dict[str, Any]]) -> str:
    rows = ["| what | goal | reached | |", "| --- | --- | --- | --- |"]
    for case in cases:
        for goal in case["goals"]:
            verdict = "holds" if goal["holds"] else "**missed**"
            rows.append(f"| {case['title']} | {goal['text']} | {_number(goal['reached'])} | {verdict} |")
    return "\n".join([*rows, ""])


def _rows(case: dict[str, Any]) -> str:
    rows = ["| | median | 10 % to 90 % | ratio | |", "| --- | --- | --- | --- | --- |"]
    for line in case["lines"]:
        value = f"{_number(line['value'])} {line['unit']}"
        rows.append(f"| {line['what']} | {value} | {_ends(line)} | {_ratio(line)} | {line['note']} |")
    return "\n".join([*rows, ""])


def _ends(line: dict[str, Any]) -> str:
    return "" if line["low"] is None else f"{_number(line['low'])} to {_number(line['high'])}"


def _ratio(line: dict[str, Any]) -> str:
    return "" if line["ratio"] is None else f"{_number(line['ratio'])} ×"


def _number(value: float) -> str:
    if value == 0 or value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def _plot(case: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and not needed for a quick run

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = case["name"]  # else its ids are random
    from matplotlib import pyplot as plt  # noqa: PLC0415

    lines = case["lines"]
    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.36 * len(lines)))
    colours = [
        "#2563eb" if re.match("SecretCache|secretcache|secret\\[", line["what"]) else "#9ca3af" for line in lines
    ]
    bars = axes.barh([line["what"] for line in lines], [line["value"] for line in lines], color=colours)
    axes.bar_label(bars, [f" {_number(line['value'])} {line['unit']}" for line in lines], fontsize=8)
    axes.invert_yaxis()
    if case["log"]:
        axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(case["title"], fontsize=10, loc="left")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
