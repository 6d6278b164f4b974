"""The documentation's pictures: what they were drawn from shows what the pages say, and they can be drawn again."""

from __future__ import annotations

import json
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from docs_blocks import HERE

PICTURES = HERE / "docs" / "pictures"


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((PICTURES / "demo.json").read_text())
    return loaded


def test_the_outage_cost_the_application_no_read_and_boto3_some(figures: dict[str, Any]) -> None:
    last = figures["outage"][-1]
    assert last["errors"] == 0
    assert last["raw_errors"] > 0
    assert last["reads"] > 100_000
    assert all(count > 0 for count in last["answers"].values())


def test_the_rotation_cost_the_application_no_login_and_awscurrent_alone_some(figures: dict[str, Any]) -> None:
    last = figures["rotation"][-1]
    (tried, refused), (_, refused_alone) = last["connect"], last["alone"]
    assert tried > 100
    assert refused == 0
    assert refused_alone > 0
    assert last["shown"] == ["new"] * 4


def test_the_same_figures_give_the_same_pictures(figures: dict[str, Any], tmp_path: Path) -> None:
    draw = runpy.run_path(str(PICTURES / "draw.py"))["draw"]
    drawn = []
    for number in range(2):
        (folder := tmp_path / str(number)).mkdir()
        draw(figures, folder)
        drawn.append([(folder / name).read_text() for name in ("outage.svg", "rotation.svg")])
    assert drawn[0] == drawn[1]
    assert "Osaka is silent" in drawn[0][0]
    assert "through connect: 0 of" in drawn[0][1]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in sorted(PICTURES.glob("*.svg"))])
def test_a_picture_is_whole_and_asks_no_other_host(path: Path) -> None:
    root = ET.fromstring(path.read_text())  # noqa: S314 - our own
    assert root.tag.endswith("svg")
    asked = [value for one in root.iter() for name, value in one.attrib.items() if name.endswith(("href", "src"))]
    assert [value for value in asked if not value.startswith("#")] == []
    assert "url(http" not in path.read_text().replace('"', "").replace("'", "")
