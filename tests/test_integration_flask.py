"""The Flask extension: its cache, config values that follow rotation, and Flask-SQLAlchemy under load."""

from __future__ import annotations

import json
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
from secretcache._transport import Call, Failure, Fault
from secretcache.integrations.flask import AppSecrets, Secrets
from support import OSAKA, REGIONS, TOKYO, House, answer

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
    """A secret with one key, shown by both regions of a house."""

    def __init__(self, house: House, name: str = "prod/flask") -> None:
        self.house, self.name = house, name
        self.show("v1")

    def show(self, current: str, previous: str | None = None, **more: str) -> None:
        stages = {"AWSCURRENT": current, "AWSPREVIOUS": previous, **more}

        def reply(call: Call) -> Any:
            version = stages.get(call.query.stage or "AWSCURRENT")
            if version is None:
                return Failure(Fault.MISSING, "ResourceNotFoundException", "no such stage", answered=True)
            content = json.dumps({"secret_key": f"key-{version}"})
            of_version = [stage for stage, one in stages.items() if one == version]
            return answer(call.region, content, self.name, VersionId=version, VersionStages=of_version)

        self.house.regions.replies = dict.fromkeys(REGIONS, reply)

    def move(self, current: str, previous: str) -> None:
        """A rotation, which the cache notices."""
        self.show(current, previous)
        self.house.cache.refresh(self.name)


@pytest.fixture
def rotations() -> Rotations:
    return Rotations(House(ttl=TTL))


@pytest.fixture
def app(rotations: Rotations) -> flask.Flask:
    return make_app(rotations.house.cache)


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
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()
    set_default_cache(house.cache)
    monkeypatch.setenv("SECRETCACHE_TTL", "5")
    app = flask.Flask("of_a_test")
    app.config["SECRETCACHE_REGIONS"] = OSAKA
    Secrets(app)
    with app.extensions["secretcache"].cache as own:
        assert own is not house.cache
        assert (own._settings.regions, own._settings.ttl) == ((OSAKA,), 5.0)
        assert default_cache() is house.cache


def test_the_config_can_name_a_cache() -> None:
    house = House()
    app = flask.Flask("of_a_test")
    app.config["SECRETCACHE_CACHE"] = house.cache
    Secrets(app)
    assert app.extensions["secretcache"].cache is house.cache


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
    assert rotations.house.regions.calls == []
    assert app.test_client().get("/set/ada").text == "ok"
    assert app.config["SECRET_KEY"] == "key-v1"
    calls = len(rotations.house.regions.calls)
    app.test_client().get("/get")
    assert len(rotations.house.regions.calls) == calls


def test_sessions_survive_a_rotation(app: flask.Flask, rotations: Rotations) -> None:
    client = app.test_client()
    client.get("/set/ada")
    rotations.move("v2", "v1")
    assert client.get("/get").text == "ada"
    rotations.house.runtime.advance(TTL)
    assert client.get("/get").text == "ada"
    assert keys(app) == ("key-v2", ["key-v1"])


def test_what_is_signed_by_a_process_that_has_noticed_is_accepted_by_one_that_has_not(rotations: Rotations) -> None:
    late = Rotations(House(ttl=TTL))
    first, second = make_app(rotations.house.cache), make_app(late.house.cache)
    for app in (first, second):
        keys(app)
    rotations.move("v2", "v1")  # noticed by the first alone
    client = first.test_client()
    client.get("/set/ada")
    cookie = client.get_cookie("session")
    assert cookie is not None
    other = second.test_client()
    other.set_cookie("session", cookie.value)
    assert other.get("/get").text == "ada"
    assert keys(first) == ("key-v1", ["key-v2"])


def test_and_the_other_way_round_once_the_first_signs_with_the_new_key(rotations: Rotations) -> None:
    late = Rotations(House(ttl=TTL))
    first, second = make_app(rotations.house.cache), make_app(late.house.cache)
    keys(first), keys(second)
    rotations.move("v2", "v1")
    keys(first)
    rotations.house.runtime.advance(TTL)
    late.move("v2", "v1")  # at the latest
    assert keys(first) == ("key-v2", ["key-v1"])
    assert keys(second) == ("key-v1", ["key-v2"])


def test_two_rotations_in_a_row_lose_no_session(app: flask.Flask, rotations: Rotations) -> None:
    client = app.test_client()
    client.get("/set/ada")
    rotations.move("v2", "v1")
    keys(app)
    rotations.move("v3", "v2")
    assert keys(app) == ("key-v1", ["key-v3", "key-v2"])
    rotations.house.runtime.advance(TTL)
    assert keys(app) == ("key-v3", ["key-v1", "key-v2"])
    assert client.get("/get").text == "ada"


def test_the_keys_that_the_config_had_are_kept(app: flask.Flask, rotations: Rotations) -> None:
    app.config["SECRET_KEY_FALLBACKS"] = ["from before"]
    rotations.show("v2", "v1")
    assert keys(app) == ("key-v2", ["key-v1", "from before"])
    rotations.move("v3", "v2")
    assert keys(app) == ("key-v2", ["key-v3", "from before"])


def test_a_rotation_reaches_a_config_that_nobody_pushes_a_context_for(rotations: Rotations) -> None:
    app = flask.Flask("of_a_test")
    Secrets(app, cache=rotations.house.cache).follow("MAIL_PASSWORD", "prod/flask", key="secret_key")
    with app.app_context():
        assert app.config["MAIL_PASSWORD"] == "key-v1"
    rotations.move("v2", "v1")
    assert app.config["MAIL_PASSWORD"] == "key-v2"  # by the hook
    assert "MAIL_PASSWORD_FALLBACKS" not in app.config


def test_the_whole_text_without_a_key(rotations: Rotations) -> None:
    app = flask.Flask("of_a_test")
    secrets = Secrets(cache=rotations.house.cache)
    secrets.init_app(app)
    secrets.follow("TOKEN", "prod/flask", fallbacks="OLD_TOKENS")
    rotations.show("v2", "v1")
    state: AppSecrets = app.extensions["secretcache"]
    state.refresh_config()
    assert app.config["TOKEN"] == '{"secret_key": "key-v2"}'
    assert app.config["OLD_TOKENS"] == ['{"secret_key": "key-v1"}']


@pytest.mark.parametrize(
    ("key", "region_fault", "expected"),
    [("secret_key", Fault.MISSING, SecretNotFoundError), ("nothing", None, SecretFormatError)],
)
def test_a_value_that_cannot_be_had_fails_the_request_and_says_why(
    key: str,
    region_fault: Fault | None,
    expected: type[Exception],
    rotations: Rotations,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = flask.Flask("of_a_test")
    Secrets(app, cache=rotations.house.cache).follow("SECRET_KEY", "prod/flask", key=key)
    app.get("/")(lambda: "ok")
    if region_fault:
        for region in REGIONS:
            rotations.house.fails(region, region_fault, "ResourceNotFoundException")
    with caplog.at_level(logging.WARNING, "secretcache"):
        assert app.test_client().get("/").status_code == 500
    assert "prod/flask" in caplog.text
    assert "key-v1" not in caplog.text
    app.testing = True
    with pytest.raises(expected):
        app.test_client().get("/")


def test_a_previous_version_without_the_key_is_left_out(rotations: Rotations) -> None:
    app = flask.Flask("of_a_test")
    Secrets(app, cache=rotations.house.cache).follow("SECRET_KEY", "prod/flask", key="secret_key")
    rotations.show("v2", "v1")
    both = rotations.house.regions.replies[OSAKA]

    def reply(call: Call) -> Any:
        if call.query.stage == "AWSPREVIOUS":
            return answer(call.region, "no JSON", "prod/flask", VersionId="v1", VersionStages=["AWSPREVIOUS"])
        return both(call)

    rotations.house.regions.replies = dict.fromkeys(REGIONS, reply)
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
