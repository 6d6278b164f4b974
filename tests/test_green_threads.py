"""gevent and eventlet, each in a process of its own that is patched as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from keepalive import KeepAliveSecretsManager
from support import PATIENCE
from test_processes import environment

APP = Path(__file__).parent / "apps" / "green_threads.py"


@pytest.mark.parametrize("kind", ["gevent", "eventlet"])
def test_green_threads_share_requests_are_cut_off_and_leave_the_others_running(kind: str) -> None:
    with KeepAliveSecretsManager() as server:
        command = [sys.executable, "-W", "ignore", str(APP), kind, server.url]
        done = subprocess.run(  # noqa: S603
            command, env=environment(), capture_output=True, text=True, timeout=4 * PATIENCE, check=False
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "versions": 1,
        "calls": 1,
        "warmed": 3,
        "moves": ["cold"],
        "connected": "cold",
        "ended": "unavailable",
        "others_went_on": True,
        "cut": "cut",
        "still_awaited": False,
    }
