"""The documentation keeps its word: its Python runs, its commands and links exist, its JSON is JSON.

Python that cannot run says `no-run` behind its language, shell that is to run says `run`. What a page reads is there:
the secrets of `SECRETS`, in Tokyo with a replica in Osaka, and a PostgreSQL that takes the password of prod/db.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.loaders
import httpx
import pytest
import yaml
from botocore import xform_name
from fastapi import FastAPI
from flask import Flask
from moto import mock_aws
from sqlalchemy.dialects import plugins

from docs_blocks import HERE, PAGES, Block, anchors, blocks, commands, links
from secretcache import SecretCache, set_default_cache
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST
from support import OSAKA, REGIONS, TOKYO

TESTED_ELSEWHERE = {"migration.md", "testing.md", "any-client.md", "operating.md"}
"""Pages whose Python has a test file of its own, with what it needs."""
GLOBAL_OPTIONS = {"--region", "--query", "--output"}
PASSWORD = "of-the-documentation"
SECRETS: dict[str, Any] = {
    "prod/app": {"api_key": "key"},
    "prod/api-key": "key",
    "prod/flask": {"secret_key": "key"},
}
ALL = [block for page in PAGES for block in blocks(page)]
PYTHON = [
    block for block in ALL if block.language == "python" and block.runs and block.page.name not in TESTED_ELSEWHERE
]


def of_language(*languages: str) -> list[Any]:
    return [pytest.param(block, id=block.name) for block in ALL if block.language in languages]


@pytest.fixture(scope="module")
def database(postgres: EmbeddedPostgres) -> dict[str, Any]:
    """What the database secret says."""
    postgres.create_role("app", PASSWORD)
    return {"host": HOST, "port": postgres.port, "dbname": postgres.database, "username": "app", "password": PASSWORD}


@pytest.fixture
def aws(database: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The secrets, in both regions, and an environment that names them."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", TOKYO)
    monkeypatch.setenv("SECRETCACHE_REGIONS", ",".join(REGIONS))
    monkeypatch.setattr("botocore.session.create_loader", _loader)  # each session would read the service's model anew
    before = set_default_cache(None)
    with mock_aws():
        tokyo = boto3.client("secretsmanager", region_name=TOKYO)
        for name, value in {"prod/db": database, **SECRETS}.items():
            text = value if isinstance(value, str) else json.dumps(value)
            tokyo.create_secret(Name=name, SecretString=text, AddReplicaRegions=[{"Region": OSAKA}])
        tokyo.close()
        yield
        made = set_default_cache(before)
        if made is not None:
            made.close()


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in PYTHON])
@pytest.mark.usefixtures("aws")
def test_python_runs(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    if "sqlalchemy" in block.code:
        _register_plugin()
    names: dict[str, Any] = {"__name__": "page"}
    try:
        exec(compile(block.code, block.name, "exec", dont_inherit=True), names)  # noqa: S102 - the page's own
        _visit(names.get("app"))
    finally:
        _close(names)
    assert PASSWORD not in capsys.readouterr().out


def test_there_is_python_to_run() -> None:
    pages = {block.page.name for block in PYTHON}
    assert {"README.md", "README.ja.md", "index.md", "application.md", "flask.md", "rotation.md"} <= pages
    assert len(PYTHON) > 40


def test_what_is_left_out_here_is_tested_elsewhere() -> None:
    others = [path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path.name != Path(__file__).name]
    assert [page for page in TESTED_ELSEWHERE if not any(page in other for other in others)] == []


@pytest.mark.parametrize("block", of_language("json", "yaml"))
def test_data_is_well_formed(block: Block) -> None:
    assert json.loads(block.code) if block.language == "json" else yaml.safe_load(block.code)


@pytest.mark.parametrize("block", of_language("bash", "sh", ""))
def test_our_commands_exist(block: Block) -> None:
    for words in commands(block, "secretcache"):
        command = "" if not words or words[0].startswith("-") else words[0]
        known = _help_of(command)
        unknown = [word for word in words if word.startswith("--") and word not in known]
        assert known, words
        assert not unknown, words


@pytest.mark.parametrize("block", of_language("bash", "sh"))
def test_the_commands_of_aws_exist(block: Block) -> None:
    model = _model()
    operations = {
        xform_name(name, "-"): operation["input"]
        for name, operation in model["operations"].items()
        if "input" in operation
    }
    for operation, *words in commands(block, "aws", "secretsmanager"):
        assert operation in operations
        members = {f"--{xform_name(name, '-')}" for name in model["shapes"][operations[operation]["shape"]]["members"]}
        assert {word for word in words if word.startswith("--")} <= members | GLOBAL_OPTIONS, operation


@pytest.mark.parametrize("block", [param for param in of_language("bash", "sh") if param.values[0].runs])
def test_shell_runs(block: Block) -> None:
    ran = subprocess.run(  # noqa: S603
        ["bash", "-euo", "pipefail", "-c", block.code],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(HERE))) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert HERE in target.parents, link
        assert not anchor or anchor in anchors(target), link


def test_blocks_say_a_language_that_is_known() -> None:
    known = {"", "bash", "json", "python", "sh", "yaml", "text", "mermaid", "toml"}
    assert {block.name: block.info for block in ALL if block.language not in known or len(block.info) > 2} == {}


def _visit(app: object) -> None:
    """An application that a page makes says who it is in the database."""
    if isinstance(app, FastAPI):
        assert asyncio.run(_ask(app)) == {"user": "app"}
    elif isinstance(app, Flask):
        assert app.test_client().get("/").json == {"user": "app"}
        if "sqlalchemy" in app.extensions:
            with app.app_context():
                app.extensions["sqlalchemy"].engine.dispose()


async def _ask(app: FastAPI) -> object:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client,
    ):
        return (await client.get("/")).json()


def _close(names: dict[str, Any]) -> None:
    for value in list(names.values()):
        if isinstance(value, SecretCache):
            value.close()
        elif isinstance(value, Flask) and hasattr(value.extensions.get("secretcache"), "cache"):
            value.extensions["secretcache"].cache.close()
    names.clear()
    gc.collect()


def _register_plugin() -> None:
    # As the entry point does where the package is installed.
    plugins.register("secretcache", "secretcache.integrations.sqlalchemy", "Plugin")


def _environment() -> dict[str, str]:
    """With this Python's programs before all others."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, "COLUMNS": "200", "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "dumb"}


@cache
def _help_of(command: str) -> str:
    """What `--help` says of a command; nothing if there is no such command."""
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "secretcache", *([command] if command else []), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
    )
    return ran.stdout if ran.returncode == 0 else ""


@cache
def _loader(*_: object) -> botocore.loaders.Loader:
    return botocore.loaders.create_loader()


@cache
def _model() -> dict[str, Any]:
    loaded: dict[str, Any] = _loader(None).load_service_model("secretsmanager", "service-2")
    return loaded
