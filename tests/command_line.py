"""A person at the command line: an environment of its own, commands as typed, and transcripts to compare with."""

from __future__ import annotations

import difflib
import io
import json
import os
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import create_loader

from secretcache import _cli
from secretcache._regions.policy import RegionPolicy
from support import OSAKA, TOKYO

CANARY = "canary-4711-budgerigar"
GOLDEN = Path(__file__).parent / "golden"
_LOADER = create_loader()
_ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_OURS = ("SECRETCACHE_", "AWS_", "BOTO")
_NORMAL = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "VERSION"),
    (r"(AWSCURRENT  )\b[0-9a-f]{8}  [0-9a-f]{8}", r"\1VERSION  VERSION"),
    (r"(:secret:[\w/]+)-[A-Za-z0-9]{6}\b", r"\1-SUFFIX"),
    (r"\d{4}-\d\d-\d\dT[\d:]+\+00:00", "TIME"),
    (r"\d\d:\d\d:\d\dZ", "TIME"),
    (r"\b\d+ ms", "N ms"),
    (r"\b0\.\d+(?=\s*$)", "0.N"),
    (r"\b[56]\d s\b", "60 s"),
    (r"\(\d+\.\d+ s\)", "(N s)"),
)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def transcript(self) -> str:
        """What was shown, without what differs from run to run."""
        text = re.sub(r"(?<=\S) {2,}", "  ", self.out + self.err)
        for form, word in _NORMAL:
            text = re.sub(form, word, text, flags=re.MULTILINE)
        return f"{text}exit code {self.code}\n"


class Terminal(io.StringIO):
    """A standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Desk:
    """Types commands in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capsys = monkeypatch, capsys
        for name in os.environ:
            if name.startswith(_OURS) or name.lower().endswith(("_proxy", "_ca_bundle")):
                monkeypatch.delenv(name)
        self.set(
            HOME=str(folder),
            AWS_CONFIG_FILE=str(folder / "config"),
            AWS_SHARED_CREDENTIALS_FILE=str(folder / "credentials"),
            AWS_EC2_METADATA_DISABLED="true",
            AWS_MAX_ATTEMPTS="1",
            AWS_ACCESS_KEY_ID="KEY",
            AWS_SECRET_ACCESS_KEY="s",
            SECRETCACHE_REGIONS=f"{OSAKA},{TOKYO}",
            SECRETCACHE_TIMEOUT="60",
        )
        # On a busy machine a client takes seconds to make.
        policy = partial(RegionPolicy, hedges=False, suspect_for=0.0, attempt_cap=20.0, making_cap=20.0)
        monkeypatch.setattr("secretcache._engine.RegionPolicy", policy)
        # Each command makes sessions of its own; the models they read from disk may be the same.
        monkeypatch.setattr("botocore.session.create_loader", lambda *_: _LOADER)
        self.folder = folder

    def set(self, **variables: str) -> None:
        for name, text in variables.items():
            self._patch.setenv(name, text)

    def unset(self, *names: str) -> None:
        for name in names:
            self._patch.delenv(name, raising=False)

    def endpoints(self, urls: dict[str, str], sts: str | None = None) -> None:
        for name in ("CONNECT_SECONDS", "READ_SECONDS"):  # a server of this machine may be kept waiting, too
            self._patch.setattr(f"secretcache._transport._sessions.{name}", 20)
        self.set(SECRETCACHE_ENDPOINT_URLS=",".join(f"{region}={url}" for region, url in urls.items()))
        if sts:
            self.set(AWS_ENDPOINT_URL_STS=sts)

    def run(self, *arguments: str) -> Ended:
        """Runs a command with its output in a pipe; no value is in it, unless it was asked for."""
        self._capsys.readouterr()
        code = self._exit_code(arguments)
        out, err = self._capsys.readouterr()
        assert "--reveal" in arguments or CANARY not in out
        assert CANARY not in err
        assert "\x1b" not in out
        return Ended(code, out, err)

    def run_in_terminal(self, *arguments: str, columns: int = 80) -> Ended:
        """Runs a command on a terminal of that width; what was drawn comes without its codes."""
        terminal = Terminal()
        self._patch.setattr(sys, "stdout", terminal)
        self.set(TERM="xterm", COLUMNS=str(columns), LINES="50")
        code = self._exit_code(arguments)
        shown = terminal.getvalue()
        assert "--reveal" in arguments or CANARY not in shown
        return Ended(code, _ANSI.sub("\n", shown).replace("\r", "\n"), "")

    def _exit_code(self, arguments: tuple[str, ...]) -> int:
        self._patch.setattr(sys, "argv", ["secretcache", *arguments])
        with pytest.raises(SystemExit) as ending:
            _cli.main()
        return int(ending.value.code or 0)


def assert_golden(name: str, text: str) -> None:
    """Compares with the transcript that is kept; `GOLDEN=write` keeps this one instead."""
    kept = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        kept.write_text(text, encoding="utf-8")
    wanted = kept.read_text(encoding="utf-8")
    assert text == wanted, "\n".join(difflib.unified_diff(wanted.splitlines(), text.splitlines(), "kept", "now"))
