"""Django's site of the tests in processes of its own, over the embedded Secrets Manager."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.private import HOST
from servers import fresh_user
from support import OSAKA, TOKYO
from test_processes import environment

__all__ = ["Account", "run_python", "site_environment"]

MANY = 90.0  # seconds, on a busy machine


class Account:
    """A user of a database, and its secret in the embedded Secrets Manager: one step of a rotation at a time."""

    def __init__(self, manager: EmbeddedSecretsManager, server: Any, create: Callable[[str, str], None]) -> None:
        self.user = fresh_user()
        self.secret_id = f"prod/{self.user}"
        self._manager, self._server = manager, server
        self.passwords: list[str] = []
        password = self._new()
        create(self.user, password)
        manager.create(self.secret_id, self._content(password))
        self.version = self._shown()
        self.pending = ""

    def open_window(self) -> None:
        """AWSPENDING has a password that the database takes; AWSCURRENT has one that it does not."""
        password = self._new()
        told = self._manager.admin().put_secret_value(
            SecretId=self.secret_id, SecretString=self._content(password), VersionStages=["AWSPENDING"]
        )
        self.pending = told["VersionId"]
        self._server.set_password(self.user, password)

    def close_window(self) -> None:
        """AWSCURRENT moves, in the replica too."""
        self._manager.admin().update_secret_version_stage(
            SecretId=self.secret_id,
            VersionStage="AWSCURRENT",
            MoveToVersionId=self.pending,
            RemoveFromVersionId=self.version,
        )
        self.version = self.pending

    def alias(self, engine: str, **more: Any) -> dict[str, Any]:
        return {"ENGINE": f"secretcache.integrations.django.{engine}", "SECRET": self.secret_id, **more}

    def _new(self) -> str:
        self.passwords.append(secrets.token_urlsafe())
        return self.passwords[-1]

    def _content(self, password: str) -> str:
        place = {"host": HOST, "port": self._server.port}
        return json.dumps({"username": self.user, "password": password, **place})

    def _shown(self) -> str:
        told = self._manager.admin().get_secret_value(SecretId=self.secret_id, VersionStage="AWSCURRENT")
        return str(told["VersionId"])


def site_environment(manager: EmbeddedSecretsManager | None, **databases: dict[str, Any]) -> dict[str, str]:
    """With the embedded Secrets Manager, or without any AWS."""
    site = {"DJANGO_SETTINGS_MODULE": "rotating_site.settings", "SITE_DATABASES": json.dumps(databases)}
    nothing = {name: "" for name in environment() if name.startswith(("AWS_", "SECRETCACHE_"))}
    nowhere = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
    made = {name: value for name, value in environment(**nothing, **site).items() if name not in nothing} | nowhere
    if manager is None:
        return made
    urls = ",".join(f"{region}={url}" for region, url in manager.endpoint_urls.items())
    aws = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "NO_PROXY": "*"}
    return made | aws | {"SECRETCACHE_REGIONS": f"{OSAKA},{TOKYO}", "SECRETCACHE_ENDPOINT_URLS": urls}


def run_python(*arguments: str, env: dict[str, str], cwd: Path) -> str:
    """What a Python of its own says, on either stream; it must succeed."""
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=MANY, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
