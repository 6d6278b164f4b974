"""Servers that speak TLS, with certificates of an authority of the tests' own: Debian's PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from local_aws import Authority
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST, Plan
from servers import lacking

__all__ = ["PostgresWithTls", "debian_postgres"]


def debian_postgres() -> Path:
    """The folder of the newest PostgreSQL's programs that Debian has installed: the wheel's knows no TLS."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda one: int(one.parts[-3]))
    if not found:
        lacking("no PostgreSQL under /usr/lib/postgresql: apt-get install postgresql")
    return found[-1].parent


class PostgresWithTls(EmbeddedPostgres):
    """A PostgreSQL of one's own that takes connections with TLS and without."""

    name: ClassVar[str] = "PostgreSQL-TLS"

    def __init__(self, programs: Path, authority: Authority) -> None:
        super().__init__()
        self._programs = programs
        authority.server(HOST)
        self._certificate = authority.bundle.with_name("server.pem").read_text()

    def _plan(self, folder: Path, port: int) -> Plan:
        plan, held = super()._plan(folder, port), folder / "server.pem"
        tls = ["--ssl=on", f"--ssl_cert_file={held}", f"--ssl_key_file={held}"]
        return replace(plan, files={**plan.files, held.name: self._certificate}, serve=[*plan.serve, *tls])
