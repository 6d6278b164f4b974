"""What stands between an application and its data, as Debian has it: PgBouncer (SCRAM, `auth_query`), and RabbitMQ."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Self

from secretcache._demo.guard import as_user
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST, Plan, PrivateServer, free_port, unprivileged
from servers import program

__all__ = ["PgBouncer", "RabbitMQ"]

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


class RabbitMQ(PrivateServer):
    """A broker of one's own. It takes twenty seconds to start, and one and a half for each change of a user."""

    name: ClassVar[str] = "RabbitMQ"
    ready: ClassVar[str] = "Server startup complete"
    _programs = Path("/usr/lib/rabbitmq/bin")

    def __init__(self) -> None:
        super().__init__()
        self._environment: dict[str, str] = {}

    def _plan(self, folder: Path, port: int) -> Plan:
        self._environment = {
            "HOME": str(folder),
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"tests{port}@localhost",
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log.d"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": HOST,
        }
        settings = [f"listeners.tcp.1 = {HOST}:{port}", "log.console = true", "log.file = false", ""]
        told = [f"{name}={value}" for name, value in self._environment.items()]
        # Erlang leaves its port mapper behind, which ends when it is told to and no node is left.
        serve = f"{self._programs}/rabbitmq-server & p=$!; trap 'kill $p' TERM; wait $p; wait $p; exec epmd -kill"
        return Plan(
            files={"rabbitmq.conf": "\n".join(settings)}, serve=["/usr/bin/env", "-i", *told, "/bin/sh", "-c", serve]
        )

    def create_user(self, name: str, password: str) -> None:
        self._control("add_user", name, password)
        self._control("set_permissions", name, ".*", ".*", ".*")

    def set_password(self, name: str, password: str) -> None:
        self._control("change_password", name, password)

    def refused_logins(self, user: str) -> int:
        """How many logins of a user it has refused since it started."""
        return sum("login refused" in line and f"'{user}'" in line for line in self.log_lines())

    def _control(self, *words: str) -> None:
        who: Any = as_user(unprivileged())
        command = [f"{self._programs}/rabbitmqctl", "--node", self._environment["RABBITMQ_NODENAME"], *words]
        folder = self._environment["HOME"]
        subprocess.run(command, env=self._environment, cwd=folder, check=True, capture_output=True, timeout=60, **who)  # noqa: S603
