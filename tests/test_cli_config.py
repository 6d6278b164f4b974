"""`secretcache config`: every setting, and where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from command_line import Desk, assert_golden
from secretcache._settings import _READERS
from support import OSAKA, TOKYO


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


def settings(desk: Desk, *arguments: str) -> dict[str, tuple[str, str]]:
    ended = desk.run("config", "--json", *arguments)
    assert ended.code == 0, ended.err
    rows: list[dict[str, Any]] = ended.json
    return {row["name"]: (row["value"], row["source"]) for row in rows}


def test_its_transcript(desk: Desk) -> None:
    desk.unset("HOME", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
    desk.set(SECRETCACHE_TTL="60", HTTPS_PROXY="http://user:pass@proxy:3128", NO_PROXY="10.0.0.1")
    ended = desk.run("config", "--timeout", "3")
    assert ended.code == 0
    assert_golden("config", ended.transcript)


def test_every_setting_of_the_environment_is_there(desk: Desk) -> None:
    known = settings(desk)
    for variable in _READERS:
        assert variable.removeprefix("SECRETCACHE_").lower() in known


def test_a_variable_an_option_and_a_default(desk: Desk) -> None:
    desk.set(SECRETCACHE_MAX_STALE="7", SECRETCACHE_TIMEOUT="4")
    known = settings(desk, "--timeout", "3")
    assert known["max_stale"] == ("7", "SECRETCACHE_MAX_STALE")
    assert known["timeout"] == ("3", "--timeout")
    assert known["ttl"] == ("300", "default")
    assert known["regions"] == (f"{OSAKA}, {TOKYO}", "SECRETCACHE_REGIONS")


def test_a_region_from_awss_own_configuration(desk: Desk) -> None:
    desk.unset("SECRETCACHE_REGIONS")
    (desk.folder / "config").write_text(f"[default]\nregion = {TOKYO}\n")
    assert settings(desk)["regions"] == (TOKYO, "the AWS configuration, profile default")
    desk.set(AWS_DEFAULT_REGION=OSAKA)
    assert settings(desk)["regions"] == (OSAKA, "AWS_DEFAULT_REGION")


def test_lambda_sets_the_refresh(desk: Desk) -> None:
    desk.set(AWS_LAMBDA_FUNCTION_NAME="f")
    assert settings(desk)["refresh"] == ("on_access", "AWS_LAMBDA_FUNCTION_NAME")


def test_no_password_and_no_key_is_shown(desk: Desk) -> None:
    desk.set(
        AWS_SECRET_ACCESS_KEY="hush-1",
        AWS_SESSION_TOKEN="hush-2",
        HTTPS_PROXY="http://user:hush-3@proxy:3128",
        AWS_ENDPOINT_URL_STS="https://user:hush-4@sts.internal",
    )
    ended = desk.run("config")
    assert "http://***@proxy:3128" in ended.out
    assert "hush" not in ended.out + ended.err


def test_what_would_fail_together_is_warned_of(desk: Desk) -> None:
    desk.set(AWS_ENDPOINT_URL="http://127.0.0.1:9")
    ended = desk.run("config")
    assert ended.code == 0
    assert "warning: AWS_ENDPOINT_URL is set" in ended.err


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SECRETCACHE_TTL": "soon"}, "SECRETCACHE_TTL must be a number of seconds, for example 300, got 'soon'"),
        ({"SECRETCACHE_TLL": "5"}, "SECRETCACHE_TLL: no such setting; known are SECRETCACHE_ENDPOINT_URLS"),
    ],
)
def test_an_unsound_variable_is_named(desk: Desk, variables: dict[str, str], told: str) -> None:
    desk.set(**variables)
    ended = desk.run("config")
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_where_no_region_is_given_the_option_is_named(desk: Desk) -> None:
    desk.unset("SECRETCACHE_REGIONS", "AWS_DEFAULT_REGION")
    desk.set(AWS_CONFIG_FILE="/dev/null")
    ended = desk.run("config")
    assert ended.code == 2
    assert "none given: pass --regions, or set SECRETCACHE_REGIONS" in ended.err


def test_a_list_of_variables_names_them_as_they_are_where_an_option_was_given(desk: Desk) -> None:
    desk.set(SECRETCACHE_TLL="5")
    ended = desk.run("config", "--regions", "ap-northeast-3")
    assert "SECRETCACHE_REFRESH, SECRETCACHE_REGIONS, SECRETCACHE_TIMEOUT" in ended.err


@pytest.mark.parametrize("columns", [30, 60, 120])
def test_a_terminal_of_any_width(desk: Desk, columns: int) -> None:
    ended = desk.run_in_terminal("config", columns=columns)
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= columns


def test_an_argument_too_many(desk: Desk) -> None:
    ended = desk.run("config", "prod/db")
    assert ended.code == 2
    assert "unexpected extra argument" in ended.err
