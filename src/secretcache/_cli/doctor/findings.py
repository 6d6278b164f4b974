"""From what was seen to what is wrong with it, and the one command or policy line that mends it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secretcache._cli.doctor.sight import Examination

__all__ = ["FAILURE", "NOTE", "SEVERITIES", "WARNING", "Finding", "exit_code", "findings_of"]

FAILURE, WARNING, NOTE = "failure", "warning", "note"
SEVERITIES = (FAILURE, WARNING, NOTE)
"""The gravest first. A note changes no exit code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or worth knowing."""

    severity: str
    code: str
    """Its name, which stays the same."""
    what: str
    mend: str
    """One command, or one line for a policy or the environment."""
    region: str | None = None
    secret: str | None = None


def findings_of(seen: Examination) -> list[Finding]:
    """All that is wrong, the gravest first."""
    found = [finding for rule in _rules() for finding in rule(seen)]
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def exit_code(findings: list[Finding]) -> int:
    """0: nothing to mend; 1: warnings; 2: failures."""
    graves = {one.severity for one in findings}
    return 2 if FAILURE in graves else int(WARNING in graves)


def _rules() -> tuple[Callable[[Examination], Iterator[Finding]], ...]:
    from secretcache._cli.doctor import rules_of_regions, rules_of_secrets  # noqa: PLC0415 - they import this module

    return (*rules_of_regions.RULES, *rules_of_secrets.RULES)
