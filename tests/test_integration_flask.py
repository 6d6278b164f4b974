"""The Flask extension: its cache, config values that follow rotation, and Flask-SQLAlchemy under load."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import flask
import pytest
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text
from sqlalchemy.pool import NullPool

from rotation_load import HALF_FAILED, WHOLE, Load, Rotating
from secretcache import (
    ConfigurationError,
    SecretCache,
    SecretFormatError,
    SecretNotFoundError,
    default_cache,
    set_default_cache,
)
from secretcache._demo.postgres import EmbeddedPostgres
from secretcache._demo.private import HOST
from secretcache.integrations.flask import AppSecrets, Secrets
from secretcache.testing import FakeSecretsManager
from support import OSAKA, REGIONS, TOKYO

TTL = 300.0


@pytest.fixture(autouse=True)
def no_default_cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SECRETCACHE_REGIONS", TOKYO)
    before = set_default_cache(None)
    yield
    made = set_default_cache(before)
    if made is not None:
        made.close()


class Rotations:
    """A secret with one key, in a Secrets Manager of its own, and a cache over that."""

    def __init__(self) -> None:
        self.manager = FakeSecretsManager()
        self.cache = self.manager.cache(ttl=TTL)
        self.show("v1")

    def show(self, version: str) -> None:
        """What the secret says from now on; AWSPREVIOUS is what it said before."""
        self.manager.put("prod/flask", {"secret_key": f"key-{version}"})

    def move(self, version: str) -> None:
        """A rotation, which the cache notices."""
        self.show(version)
        self.cache.refresh("prod/flask")
        self.manager.clock.settle()


@pytest.fixture
def made() -> Iterator[list[Rotations]]:
    made: list[Rotations] = []
    yield made
    for one in made:
        one.manager.close()


@pytest.fixture
def rotations(made: list[Rotations]) -> Rotations:
    made.append(Rotations())
    return made[-1]


@pytest.fixture
def late(made: list[Rotations]) -> Rotations:
    """What another process has, which learns of everything later."""
    made.append(Rotations())
    return made[-1]


@pytest.fixture
def app(rotations: Rotations) -> flask.Flask:
    return make_app(rotations.cache)


def make_app(cache: SecretCache) -> flask.Flask:
    """An application that remembers a name in its session."""
    app = flask.Flask("of_a_test")
    Secrets(app, cache=cache).follow("SECRET_KEY", "prod/flask", key="secret_key")

    @app.get("/set/<name>")
    def remember(name: str) -> str:
        flask.session["name"] = name
        return "ok"

    @app.get("/get")
    def recall() -> str:
        return str(flask.session.get("name"))

    return app


def keys(app: flask.Flask) -> tuple[Any, Any]:
    with app.app_context():
        return app.config["SECRET_KEY"], app.config["SECRET_KEY_FALLBACKS"]


# The cache


def test_the_cache_is_that_of_the_process_unless_told_otherwise() -> None:
    app = flask.Flask("of_a_test")
    secrets = Secrets()
    secrets.init_app(app)
    assert app.extensions["secretcache"].cache is default_cache()
    with app.app_context():
        assert secrets.cache is default_cache()


def test_a_cache_made_from_the_config_is_found_by_engines_too() -> None:
    app = flask.Flask("of_a_test")
    app.config |= {"SECRETCACHE_REGIONS": list(REGIONS), "SECRETCACHE_TTL": 60, "SECRETCACHE_MAX_STALE": "7"}
    app.config["SECRETCACHE_ENDPOINT_URLS"] = {OSAKA: "http://127.0.0.1:1"}
    Secrets(app)
    cache = app.extensions["secretcache"].cache
    assert default_cache() is cache
    settings = cache._settings
    assert (settings.regions, settings.ttl, settings.max_stale) == (REGIONS, 60.0, 7.0)
    assert settings.endpoint_urls == {OSAKA: "http://127.0.0.1:1"}


def test_the_config_wins_over_the_environment_and_leaves_a_default_cache_in_place(
    monkeypatch: pytest.MonkeyPatch, rotations: Rotations
) -> None:
    set_default_cache(rotations.cache)
    monkeypatch.setenv("SECRETCACHE_TTL", "5")
    app = flask.Flask("of_a_test")
    app.config["SECRETCACHE_REGIONS"] = OSAKA
    Secrets(app)
    with app.extensions["secretcache"].cache as own:
        assert own is not rotations.cache
        assert (own._settings.regions, own._settings.ttl) == ((OSAKA,), 5.0)
        assert default_cache() is rotations.cache


def test_the_config_can_name_a_cache(rotations: Rotations) -> None:
    app = flask.Flask("of_a_test")
    app.config["SECRETCACHE_CACHE"] = rotations.cache
    Secrets(app)
    assert app.extensions["secretcache"].cache is rotations.cache


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"SECRETCACHE_TTL": "soon"}, "SECRETCACHE_TTL must be a number of seconds"),
        ({"SECRETCACHE_TTL": True}, "SECRETCACHE_TTL must be a number of seconds"),
        ({"SECRETCACHE_TTL": -1}, "SECRETCACHE_TTL: ttl must be"),
        ({"SECRETCACHE_TLL": 1}, "SECRETCACHE_TLL: no such setting"),
        ({"SECRETCACHE_REGIONS": ["nowhere"]}, "SECRETCACHE_REGIONS: .*'nowhere' is not the name"),
        ({"SECRETCACHE_CACHE": 5}, "cache must be a SecretCache, its dotted path or None"),
        ({"SECRETCACHE_CACHE": "a:b", "SECRETCACHE_TTL": 1}, "SECRETCACHE_TTL, but the cache is given: choose one"),
    ],
)
def test_unsound_config_is_refused_by_name(config: dict[str, Any], message: str) -> None:
    app = flask.Flask("of_a_test")
    app.config |= config
    with pytest.raises(ConfigurationError, match=message):
        Secrets(app)


# Values that follow rotation


def test_nothing_is_asked_before_the_first_request(app: flask.Flask, rotations: Rotations) -> None:
    assert not rotations.manager.calls
    assert app.test_client().get("/set/ada").text == "ok"
    assert app.config["SECRET_KEY"] == "key-v1"
    calls = len(rotations.manager.calls)
    app.test_client().get("/get")
    assert len(rotations.manager.calls) == calls


def test_sessions_survive_a_rotation(app: flask.Flask, rotations: Rotations) -> None:
    client = app.test_client()
    client.get("/set/ada")
    rotations.move("v2")
    assert client.get("/get").text == "ada"
    rotations.manager.clock.advance(TTL)
    assert client.get("/get").text == "ada"
    assert keys(app) == ("key-v2", ["key-v1"])


def test_what_is_signed_by_a_process_that_has_noticed_is_accepted_by_one_that_has_not(
    rotations: Rotations, late: Rotations
) -> None:
    first, second = make_app(rotations.cache), make_app(late.cache)
    for app in (first, second):
        keys(app)
    rotations.move("v2")  # noticed by the first alone
    client = first.test_client()
    client.get("/set/ada")
    cookie = client.get_cookie("session")
    assert cookie is not None
    other = second.test_client()
    other.set_cookie("session", cookie.value)
    assert other.get("/get").text == "ada"
    assert keys(first) == ("key-v1", ["key-v2"])


def test_and_the_other_way_round_once_the_first_signs_with_the_new_key(rotations: Rotations, late: Rotations) -> None:
    first, second = make_app(rotations.cache), make_app(late.cache)
    keys(first), keys(second)
    rotations.move("v2")
    keys(first)
    rotations.manager.clock.advance(TTL)
    late.move("v2")  # at the latest
    assert keys(first) == ("key-v2", ["key-v1"])
    assert keys(second) == ("key-v1", ["key-v2"])


def test_two_rotations_in_a_row_lose_no_session(app: flask.Flask, rotations: Rotations) -> None:
    client = app.test_client()
    client.get("/set/ada")
    rotations.move("v2")
    keys(app)
    rotations.move("v3")
    assert keys(app) == ("key-v1", ["key-v3", "key-v2"])
    rotations.manager.clock.advance(TTL)
    assert keys(app) == ("key-v3", ["key-v1", "key-v2"])
    assert client.get("/get").text == "ada"


def test_the_keys_that_the_config_had_are_kept(app: flask.Flask, rotations: Rotations) -> None:
    app.config["SECRET_KEY_FALLBACKS"] = ["from before"]
    rotations.show("v2")
    assert keys(app) == ("key-v2", ["key-v1", "from before"])
    rotations.move("v3")
    assert keys(app) == ("key-v2", ["key-v3", "from before"])


def test_a_rotation_reaches_a_config_that_nobody_pushes_a_context_for(rotations: Rotations) -> None:
    app = flask.Flask("of_a_test")
    Secrets(app, cache=rotations.cache).follow("MAIL_PASSWORD", "prod/flask", key="secret_key")
    with app.app_context():
        assert app.config["MAIL_PASSWORD"] == "key-v1"
    rotations.move("v2")
    assert app.config["MAIL_PASSWORD"] == "key-v2"  # by the hook
    assert "MAIL_PASSWORD_FALLBACKS" not in app.config


def test_the_whole_text_without_a_key(rotations: Rotations) -> None:
    app = flask.Flask("of_a_test")
    secrets = Secrets(cache=rotations.cache)
    secrets.init_app(app)
    secrets.follow("TOKEN", "prod/flask", fallbacks="OLD_TOKENS")
    rotations.show("v2")
    state: AppSecrets = app.extensions["secretcache"]
    state.refresh_config()
    assert app.config["TOKEN"] == '{"secret_key": "key-v2"}'
    assert app.config["OLD_TOKENS"] == ['{"secret_key": "key-v1"}']


@pytest.mark.parametrize(
    ("key", "there", "expected"), [("secret_key", False, SecretNotFoundError), ("nothing", True, SecretFormatError)]
)
def test_a_value_that_cannot_be_had_fails_the_request_and_says_why(
    key: str,
    there: bool,  # noqa: FBT001
    expected: type[Exception],
    rotations: Rotations,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = flask.Flask("of_a_test")
    Secrets(app, cache=rotations.cache).follow("SECRET_KEY", "prod/flask", key=key)
    app.get("/")(lambda: "ok")
    if not there:
        rotations.manager.delete("prod/flask", forever=True)
    with caplog.at_level(logging.WARNING, "secretcache"):
        assert app.test_client().get("/").status_code == 500
    assert "prod/flask" in caplog.text
    assert "key-v1" not in caplog.text
    app.testing = True
    with pytest.raises(expected):
        app.test_client().get("/")


def test_a_previous_version_without_the_key_is_left_out(rotations: Rotations) -> None:
    app = flask.Flask("of_a_test")
    Secrets(app, cache=rotations.cache).follow("SECRET_KEY", "prod/flask", key="secret_key")
    rotations.manager.put("prod/flask", "no JSON")
    rotations.show("v2")
    assert keys(app) == ("key-v2", [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "prod/flask"), "name must be a text"),
        (("A", 5), "secret_id must be a text"),
        (("SECRET_KEY", "other"), "SECRET_KEY is followed already"),
        (("SECRET_KEY_FALLBACKS", "other"), "SECRET_KEY_FALLBACKS is followed already"),
    ],
)
def test_unsound_follows_are_refused(arguments: tuple[Any, Any], message: str) -> None:
    secrets = Secrets()
    secrets.follow("SECRET_KEY", "prod/flask")
    with pytest.raises(ConfigurationError, match=message):
        secrets.follow(*arguments)


# Flask-SQLAlchemy


@pytest.fixture
def make_web(postgres: EmbeddedPostgres) -> Iterator[Callable[..., flask.Flask]]:
    """Makes applications whose one view asks the database who is logged in."""
    made = []

    def make(**config: Any) -> flask.Flask:
        app = flask.Flask("of_a_test")
        app.config |= {"SQLALCHEMY_DATABASE_URI": "postgresql+psycopg://", **config}
        made.append((app, db := SQLAlchemy(app)))

        @app.get("/")
        def view() -> str:
            return str(db.session.execute(text("SELECT current_user")).scalar_one())

        return app

    yield make
    for app, db in made:
        with app.app_context():
            db.engine.dispose()


def test_flask_sqlalchemy_in_one_line_answers_through_rotations(
    postgres: EmbeddedPostgres, make_web: Callable[..., flask.Flask]
) -> None:
    place: dict[str, Any] = {"port": postgres.port, "dbname": postgres.database}
    with Rotating(postgres.create_role, postgres.set_password, host=HOST, **place) as account:
        set_default_cache(account.cache)
        bridges = account.bridges()
        anew = {"poolclass": NullPool}  # every request logs in
        ours = make_web(
            SQLALCHEMY_ENGINE_OPTIONS={"plugins": ["secretcache"], "secretcache": account.secret_id, **anew}
        )
        current = {"user": account.user, "password": account.passwords[account.version]}
        stock = make_web(
            SQLALCHEMY_DATABASE_URI=f"postgresql+psycopg://{HOST}:{postgres.port}/{postgres.database}",
            SQLALCHEMY_ENGINE_OPTIONS={"connect_args": current, **anew},
        )
        with (
            Load(lambda: answers(ours, account.user), workers=2) as load,
            Load(lambda: answers(stock, account.user), workers=1) as control,
        ):
            for kind in (WHOLE, HALF_FAILED):
                account.rotate(kind, load, control)
        set_default_cache(None)
    assert load.errors == []
    assert control.errors
    assert {"AWSPENDING", "AWSPREVIOUS"} <= set(bridges)


def answers(app: flask.Flask, user: str) -> None:
    response = app.test_client().get("/")
    assert (response.status_code, response.text) == (200, user)


def test_without_flask_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "secretcache.integrations.flask")
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(ImportError, match=r"secretcache\[flask\]"):
        import_module("secretcache.integrations.flask")
