"""`secretcache get`, as its user runs it."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

import secretcache
from command_line import CANARY, Desk, assert_golden
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Hold, Refuse, service_error
from support import OSAKA, TOKYO


@pytest.fixture
def desk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    manager: EmbeddedSecretsManager,
) -> Desk:
    desk = Desk(tmp_path, monkeypatch, capsys)
    desk.endpoints(manager.endpoint_urls)
    return desk


@pytest.fixture
def make(manager: EmbeddedSecretsManager) -> Callable[[str | bytes], str]:
    def create(value: str | bytes) -> str:
        name = f"get/{uuid4().hex}"
        manager.create(name, value)
        return name

    return create


ROOT = str(Path(secretcache.__file__).parents[1])
JSON = json.dumps({"password": CANARY, "port": 5432})


def test_it_tells_all_but_the_value(desk: Desk, manager: EmbeddedSecretsManager) -> None:
    manager.create("prod/db", JSON)
    ended = desk.run("get", "prod/db", "--region-info")
    assert_golden("get", ended.transcript)


def test_the_names_of_keys_are_not_shown(desk: Desk, make: Callable[[str], str]) -> None:
    name = make(json.dumps({CANARY: "owner"}))
    told = desk.run("get", name)
    assert "JSON object with 1 key\n" in told.out


def test_a_value_is_written_as_it_is(desk: Desk, make: Callable[[str], str]) -> None:
    ended = desk.run("get", make(JSON), "--reveal")
    assert (ended.code, ended.out, ended.err) == (0, JSON + "\n", "")


def test_one_key_of_it(desk: Desk, make: Callable[[str], str]) -> None:
    name = make(JSON)
    assert desk.run("get", name, "--key", "password", "--reveal").out == CANARY + "\n"
    assert desk.run("get", name, "--key", "port", "--reveal").out == "5432\n"
    assert "key: password\n" in desk.run("get", name, "--key", "password").out


def test_a_key_that_is_not_there(desk: Desk, make: Callable[[str], str]) -> None:
    name = make(JSON)
    ended = desk.run("get", name, "--key", "user", "--reveal")
    assert (ended.code, ended.out, ended.err) == (1, "", f"secretcache: secret {name!r} has no key 'user'\n")


def test_a_key_of_what_is_no_json(desk: Desk, make: Callable[[str], str]) -> None:
    ended = desk.run("get", make(CANARY), "--key", "user", "--reveal")
    assert (ended.code, ended.out) == (1, "")
    assert "SecretFormatError" in ended.err


def test_json_holds_the_value_only_when_revealed(desk: Desk, make: Callable[[str], str]) -> None:
    name = make(JSON)
    hidden, shown = desk.run("get", name, "--json").json, desk.run("get", name, "--json", "--reveal").json
    assert shown == {**hidden, "value": JSON}
    assert (hidden["name"], hidden["region"], hidden["stages"]) == (name, OSAKA, ["AWSCURRENT"])
    with_regions = desk.run("get", name, "--json", "--region-info").json
    assert [one["region"] for one in with_regions["regions"]] == [OSAKA, TOKYO]


def test_a_binary_value_goes_to_a_pipe_and_not_to_a_terminal(desk: Desk, make: Callable[[bytes], str]) -> None:
    value = b"\x00\xff" + CANARY.encode()
    name = make(value)
    shown = desk.run("get", name, "--json", "--reveal").json
    assert shown["kind"] == "binary"
    assert base64.b64decode(shown["value"]["base64"]) == value
    assert desk.run_in_terminal("get", name, "--reveal").code == 2


def test_a_binary_value_is_written_byte_by_byte(manager: EmbeddedSecretsManager, desk: Desk) -> None:
    name, value = f"get/{uuid4().hex}", b"\x00\xff\n" + CANARY.encode()
    manager.create(name, value)
    ran = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "secretcache", "get", name, "--reveal"],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": ROOT, "SECRETCACHE_TIMEOUT": "30"},
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, value, b"")


def test_a_value_is_written_whatever_the_locale(
    desk: Desk, make: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    value, written = "pässwörd → \x1b[31m", io.BytesIO()
    name = make(value)
    with io.TextIOWrapper(written, encoding="ascii", newline="\r\n") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert desk.run("get", name, "--reveal").code == 0
        assert written.getvalue() == f"{value}\n".encode()


def test_stages_and_versions(desk: Desk, manager: EmbeddedSecretsManager, make: Callable[[str], str]) -> None:
    name = make("old")
    old = manager.admin().get_secret_value(SecretId=name)["VersionId"]
    manager.rotate(name, "new")
    assert desk.run("get", name, "--stage", "AWSPREVIOUS", "--reveal").out == "old\n"
    assert desk.run("get", name, "--version-id", old, "--reveal").out == "old\n"


def test_the_other_region_answers_and_is_told(
    desk: Desk, manager: EmbeddedSecretsManager, make: Callable[[str], str]
) -> None:
    name = make(JSON)
    manager.proxies[OSAKA].set_fault(Refuse())
    ended = desk.run("get", name, "--reveal", "--region-info")
    assert (ended.code, ended.out) == (0, JSON + "\n")
    told = ended.err.splitlines()
    assert f"region {OSAKA}" in told[0]
    assert "failures 1" in told[0]
    assert "answers 1" in told[1]


def test_a_secret_that_is_nowhere(desk: Desk) -> None:
    ended = desk.run("get", "no/such")
    assert_golden("get-missing", ended.transcript)


def test_a_refusal_ends_it_with_one(desk: Desk, manager: EmbeddedSecretsManager) -> None:
    for proxy in manager.proxies.values():
        proxy.set_fault(service_error("AccessDeniedException", "no"))
    ended = desk.run("get", "prod/db")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("secretcache: SecretAccessDeniedError: access to secret 'prod/db'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Missing argument 'SECRET'"),
        (("a", "--colour"), "No such option: --colour"),
        (("a", "--regions", "tokyo"), "--regions: regions: 'tokyo' is not the name of a region"),
        (("a", "--regions", OSAKA), "must be one of regions"),  # an endpoint is given for the other
        (("a", "--timeout", "soon"), "--timeout must be a number of seconds, for example 300, got 'soon'"),
        (("a", "--endpoint-urls", OSAKA), "--endpoint-urls must be region=URL pairs"),
        (("arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-AbCdEf",), "is of region 'eu-west-1', which is not"),
        ((" ",), "secret_id must have 1 to 2048 characters"),
        (("a", "--stage", ""), "version_stage must be a text"),
    ],
)
def test_what_was_asked_wrongly_is_told(desk: Desk, arguments: tuple[str, ...], told: str) -> None:
    ended = desk.run("get", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_one_endpoint_for_two_regions_is_warned_of(desk: Desk, manager: EmbeddedSecretsManager) -> None:
    manager.create("get/shared", JSON)
    desk.unset("SECRETCACHE_ENDPOINT_URLS")
    desk.set(AWS_ENDPOINT_URL_SECRETS_MANAGER=manager.endpoint_urls[TOKYO])
    ended = desk.run("get", "get/shared")
    assert ended.code == 0
    assert ended.err.startswith("secretcache: warning: AWS_ENDPOINT_URL_SECRETS_MANAGER is set")


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to one process on Windows")
@pytest.mark.parametrize("command", ["get", "doctor"])
def test_ctrl_c_ends_it_while_it_waits(command: str, desk: Desk, manager: EmbeddedSecretsManager) -> None:
    for proxy in manager.proxies.values():
        proxy.set_fault(Hold())
    # It takes SIGINT even where the tests run in the background.
    take = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{take}; from secretcache._cli import main; main()"
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", code, command, "prod/db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": ROOT, "AWS_ENDPOINT_URL_STS": manager.endpoint_urls[TOKYO]},
    ) as running:
        manager.proxies[TOKYO].wait_for_requests(1, timeout=60)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, "", "interrupted\n")


def test_a_narrow_terminal_is_not_overrun(desk: Desk, make: Callable[[str], str]) -> None:
    shown = desk.run_in_terminal("get", make(JSON), "--region-info", columns=40).out
    regions = shown.partition("\n\n")[2].splitlines()
    assert regions[:2] == [f"{OSAKA}:", "  host 127.0.0.1"]
    assert max(len(line) for line in regions) <= 40
