"""The snippets of docs/migration.md do what the page says, before and after."""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from support import OSAKA, TOKYO

PAGE = Path(__file__).parents[1] / "docs" / "migration.md"
STORED = '{"username": "app", "password": "v1", "host": "db.example", "port": 5432, "engine": "postgres"}'
SNIPPETS = re.findall(r"^## (.+?)$|^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def snippets() -> list[Any]:
    found: list[Any] = []
    title = ""
    for heading, code in SNIPPETS:
        title = heading or title
        if code:
            found.append(pytest.param(code, id=f"{title} {len(found)}"))
    return found


def test_the_page_has_snippets() -> None:
    assert len(snippets()) >= 9


@pytest.mark.parametrize("code", snippets())
@mock_aws
def test_a_snippet_reads_the_password(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a database secret, which has more keys than a snippet asks for."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", TOKYO)
    boto3.client("secretsmanager", region_name=TOKYO).create_secret(
        Name="prod/db", SecretString=STORED, AddReplicaRegions=[{"Region": OSAKA}]
    )
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 - the page's own
    assert names["password"] == "v1" or '"password": "v1"' in names["password"]
    for name in ("cache", "client"):
        if hasattr(names.get(name), "close"):
            names[name].close()
    names.clear()
    gc.collect()
