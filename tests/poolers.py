"""PgBouncer in front of the tests' PostgreSQL, as Debian has it: SCRAM to its clients, passwords by `auth_query`."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import ClassVar

from typing_extensions import Self

from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST, Plan, PrivateServer
from servers import program

__all__ = ["PgBouncer"]

ADMIN = "bouncer"


class PgBouncer(PrivateServer):
    """A pooler of one's own, in front of that server, which it asks for the password at each login."""

    name: ClassVar[str] = "PgBouncer"
    ready: ClassVar[str] = "process up"

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        super().__init__()
        self._postgres = postgres
        self._password = secrets.token_urlsafe()

    def _plan(self, folder: Path, port: int) -> Plan:
        settings = {
            "listen_addr": HOST,
            "listen_port": port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users",
            "admin_users": ADMIN,
            "pool_mode": "session",
            "server_login_retry": 1,
            "auth_user": ADMIN,
        }
        lines = [f"* = host={HOST} port={self._postgres.port}", "[pgbouncer]"]
        lines += [f"{name} = {value}" for name, value in settings.items()]
        files = {"pgbouncer.ini": "\n".join(["[databases]", *lines, ""]), "users": f'"{ADMIN}" "{self._password}"\n'}
        return Plan(files=files, serve=[program("pgbouncer"), str(folder / "pgbouncer.ini")])

    def __enter__(self) -> Self:
        with self._postgres.admin() as admin:
            admin.execute(f"DROP ROLE IF EXISTS {ADMIN}")
            admin.execute(f"CREATE ROLE {ADMIN} SUPERUSER LOGIN PASSWORD '{self._password}'")
        super().__enter__()
        return self

    def create_role(self, name: str, password: str) -> None:
        self._postgres.create_role(name, password)

    def set_password(self, name: str, password: str) -> None:
        self._postgres.set_password(name, password)
