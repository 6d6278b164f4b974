"""What a Secret shows, and what it keeps to itself."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from secretcache import Secret, SecretFormatError
from secretcache._secret import Lifetime

CANARY = "canary-4711"


def make(
    value: str | bytes = f'{{"password": "{CANARY}", "port": 5432}}', now: Callable[[], float] = lambda: 0.0
) -> Secret:
    return Secret(
        value,
        arn="arn:aws:secretsmanager:ap-northeast-3:123456789012:secret:prod/db-AbCdEf",
        name="prod/db",
        version_id="0" * 32,
        version_stages=("AWSCURRENT",),
        region="ap-northeast-3",
        created_date=None,
        requested_at=0.0,
        lifetime=Lifetime(now, 300.0),
    )


def test_text() -> None:
    secret = make("text")
    assert secret.string == "text"
    with pytest.raises(SecretFormatError, match=r"'prod/db' is text: read \.string"):
        _ = secret.binary


def test_bytes() -> None:
    secret = make(b"\x00\xff")
    assert secret.binary == b"\x00\xff"
    for read in (lambda: secret.string, secret.json, lambda: secret["key"]):
        with pytest.raises(SecretFormatError, match=r"'prod/db' is binary(: | but not JSON: )read \.binary"):
            read()


@pytest.mark.parametrize("encode", [str, str.encode])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_is_read_whatever_it_is_stored_as(encode: Callable[[str], str | bytes], mark: str) -> None:
    secret = make(encode(mark + json.dumps({"password": CANARY})))
    assert secret["password"] == secret.json()["password"] == CANARY


def test_json_is_a_fresh_object_each_time() -> None:
    secret = make()
    secret.json()["password"] = "changed"
    assert secret.json()["password"] == CANARY
    assert secret["password"] == CANARY


def test_a_key_is_read_from_one_parse() -> None:
    secret = make('{"hosts": ["a"]}')
    assert secret["hosts"] is secret["hosts"]
    assert "hosts" in secret
    assert "port" not in secret


def test_a_missing_key_is_named() -> None:
    with pytest.raises(KeyError, match=r"'prod/db' has no key 'username'"):
        make()["username"]


@pytest.mark.parametrize(
    "text", ["", "plain", "{'single': 1}", "[" * 100_000], ids=["empty", "plain", "quotes", "deep"]
)
def test_text_that_is_no_json(text: str) -> None:
    with pytest.raises(SecretFormatError, match="not JSON"):
        make(text).json()


@pytest.mark.parametrize("text", ["[1]", '"text"', "1", "null"])
def test_json_that_is_no_object(text: str) -> None:
    with pytest.raises(SecretFormatError, match="not an object"):
        make(text)["key"]


def test_a_secret_is_not_iterated_by_accident() -> None:
    with pytest.raises(TypeError):
        list(make())  # type: ignore[call-overload]


def test_it_does_not_change() -> None:
    secret = make()
    for name in ("string", "name", "_value", "anything"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(secret, name, "x")
        with pytest.raises(AttributeError, match="does not change"):
            delattr(secret, name)


@pytest.mark.parametrize(
    "shown", [repr, str, format, "{0:>100}".format, "{0!r}".format, "%s".__mod__, lambda s: f"{[s]}"]
)
def test_no_rendering_shows_the_value(shown: Callable[[Secret], str]) -> None:
    secret = make()
    secret.json()
    assert secret["password"] == CANARY
    text = shown(secret)
    assert CANARY not in text
    assert "prod/db" in text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps([make()], protocol)


def test_a_copy_is_itself() -> None:
    secret = make()
    assert copy.copy(secret) is secret
    assert copy.deepcopy({"a": [secret]})["a"][0] is secret


def test_age_never_shrinks_below_zero() -> None:
    assert make(now=lambda: -5.0).age() == 0
    assert make(now=lambda: 301.0).is_stale
    assert not make(now=lambda: 300.0).is_stale


def test_it_has_no_dict_to_be_dumped() -> None:
    secret: Any = make()
    with pytest.raises(TypeError):
        vars(secret)
