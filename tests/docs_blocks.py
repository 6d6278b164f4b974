"""What the documentation's pages hold: their blocks of code, their links, and the anchors that can be linked to."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["HERE", "PAGES", "Block", "anchors", "blocks", "commands", "links"]

HERE = Path(__file__).parents[1]
PAGES = sorted([*HERE.glob("*.md"), *HERE.glob("docs/**/*.md"), *HERE.glob("examples/*.md")])
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+?)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    number: int
    info: tuple[str, ...]
    code: str

    @property
    def language(self) -> str:
        return self.info[0] if self.info else ""

    @property
    def runs(self) -> bool:
        """Python unless it says that it does not; shell, which may do anything here, only where it says so."""
        return "no-run" not in self.info if self.language == "python" else "run" in self.info

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(HERE)} {self.number}"


def blocks(page: Path) -> Iterator[Block]:
    for number, (indent, info, code) in enumerate(_FENCE.findall(page.read_text()), 1):
        plain = "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
        yield Block(page, number, tuple(info.split()), plain)


def links(page: Path) -> list[str]:
    return _LINK.findall(_without_blocks(page))


@cache
def anchors(page: Path) -> frozenset[str]:
    """As GitHub and MkDocs make them of English headings."""
    found: list[str] = []
    for heading in _HEADING.findall(_without_blocks(page)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


def commands(block: Block, *program: str) -> Iterator[list[str]]:
    """The command lines of a program in a shell block, continued lines joined, as words after the program's own."""
    begins = re.compile(r"\s*(?:[A-Z_]+=\S+ )*" + r"\s+".join(program) + r"\b")
    for line in block.code.replace("\\\n", " ").splitlines():
        if begun := begins.match(line):
            yield shlex.split(line[begun.end() :].rstrip("| "), comments=True)


def _without_blocks(page: Path) -> str:
    return _FENCE.sub("", page.read_text())
