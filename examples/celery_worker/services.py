"""The services of the other examples, and Redis for messages and results of Celery, whose password rotates as well."""

from __future__ import annotations

import json
import secrets
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import redis

from examples.embedded import Services
from secretcache._demo.private import HOST, Plan, PrivateServer

if TYPE_CHECKING:
    from typing_extensions import Self

SECRET_ID, USER = "prod/redis", "worker"


class RedisServer(PrivateServer):
    """A Redis server of one's own, with one user."""

    name: ClassVar[str] = "Redis"
    ready: ClassVar[str] = "Ready to accept connections"

    def __init__(self) -> None:
        super().__init__()
        self._password = secrets.token_urlsafe()

    def _plan(self, folder: Path, port: int) -> Plan:
        program = shutil.which("redis-server")
        if program is None:
            raise RuntimeError("redis-server not found: apt-get install redis-server")
        settings = f'bind {HOST}\nport {port}\nrequirepass {self._password}\nsave ""\ndir "{folder}"\n'
        return Plan(files={"redis.conf": settings}, serve=[program, str(folder / "redis.conf")])

    def set_password(self, password: str) -> None:
        """Gives the user that one password, and makes the user."""
        with redis.Redis(host=HOST, port=self.port, password=self._password) as admin:
            rules = ("resetpass", "on", f">{password}", "~*", "&*", "+@all")
            admin.execute_command("ACL", "SETUSER", USER, *rules)


class CeleryServices(Services):
    """Those, and Redis; each rotation is one of the database's password and one of Redis's."""

    def __init__(self) -> None:
        super().__init__()
        self.redis = RedisServer()
        self._own = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.redis)
            super().__enter__()
            stack.callback(super().__exit__)
            password = secrets.token_urlsafe()
            self.redis.set_password(password)
            self.secrets.create(SECRET_ID, self._account(password))
            self._own = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()

    def rotate(self) -> None:
        """Redis's within the window of the database's: AWSCURRENT of both is wrong for a while."""
        password = secrets.token_urlsafe()
        content = self._account(password)
        self.secrets.admin().put_secret_value(SecretId=SECRET_ID, SecretString=content, VersionStages=["AWSPENDING"])
        self.redis.set_password(password)
        super().rotate()
        self.secrets.rotate(SECRET_ID, content)

    def _account(self, password: str) -> str:
        return json.dumps({"host": HOST, "port": self.redis.port, "username": USER, "password": password})
