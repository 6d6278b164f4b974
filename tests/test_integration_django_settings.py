"""Django's settings from secrets: read where they are used, and what they are after a rotation."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from typing import Any

import pytest
import redis
from django.core import mail, signing
from django.core.cache.backends.redis import RedisCache
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

import django_ground  # noqa: F401 - its settings
from rotation_load import Rotating
from secretcache import SecretCache, SecretFormatError, set_default_cache
from secretcache._demo.private import HOST
from secretcache.integrations.django.settings import redis_options, secret_keys, secret_text
from secretcache.testing import FakeSecretsManager
from servers import Redis

TTL = 300.0


class Secrets:
    """One secret whose values a test writes, in the cache that is the process's."""

    def __init__(self, manager: FakeSecretsManager, cache: SecretCache) -> None:
        self.manager, self.cache = manager, cache

    def show(self, *values: str) -> None:
        """The secret takes these values, one after the other: AWSPREVIOUS has the last but one. Noticed at once."""
        for value in values:
            self.manager.put("prod/django", value)
        self.cache.invalidate("prod/django")


@pytest.fixture
def secretcache_options() -> dict[str, Any]:
    return {"ttl": TTL}


@pytest.fixture
def secrets(fake_secrets_manager: FakeSecretsManager, secret_cache: SecretCache) -> Secrets:
    return Secrets(fake_secrets_manager, secret_cache)


def test_a_text_is_what_the_secret_says_at_the_moment(secrets: Secrets) -> None:
    text = secret_text("prod/django", "password")
    secrets.show('{"password": "first"}')
    assert (str(text), f"{text}", text + "!", "-" + text, len(text), "irs" in text) == (
        *("first", "first", "first!", "-first", 5, True),
    )
    assert (text.encode(), text[0], list(text)[-1], text == "first") == (b"first", "f", "t", True)
    secrets.show('{"password": "second"}')
    assert str(text) == "second"


def test_a_text_is_read_when_it_is_used_and_not_before() -> None:
    text = secret_text("prod/django", cache="no.such:cache")
    assert text
    assert repr(text) == "<SecretText of 'prod/django'>"
    assert copy.deepcopy({"A": text})["A"] is text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(text)
    with pytest.raises(AttributeError):
        text._missing  # noqa: B018
    with pytest.raises(ImproperlyConfigured, match=r"'prod/django'.*no\.such:cache"):
        str(text)


@pytest.mark.parametrize("arguments", [("",), (5,), ("prod/django", ""), ("prod/django", 5)])
def test_unsound_arguments_are_refused_by_name(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ImproperlyConfigured, match="must be a text"):
        secret_text(*arguments)


@pytest.mark.parametrize("value", ['{"other": "private"}', '{"password": ["private"]}'])
def test_a_key_that_is_missing_is_named(value: str, secrets: Secrets) -> None:
    secrets.show(value)
    with pytest.raises(SecretFormatError, match="has no text 'password'") as raised:
        str(secret_text("prod/django", "password"))
    assert "private" not in "".join(traceback.format_exception(raised.value))


def test_what_was_signed_before_a_rotation_stays_valid_until_the_next(secrets: Secrets) -> None:
    secrets.show("first")
    key, fallbacks = secret_keys("prod/django")
    with override_settings(SECRET_KEY=key, SECRET_KEY_FALLBACKS=fallbacks):
        signed = signing.dumps("hello")
        secrets.show("second")
        assert signing.loads(signed) == "hello"
        secrets.show("third")
        with pytest.raises(signing.BadSignature):
            signing.loads(signed)


def test_the_new_key_signs_when_every_process_has_noticed(secrets: Secrets) -> None:
    secrets.show("first")
    key, fallbacks = secret_keys("prod/django")
    assert (str(key), [*fallbacks]) == ("first", [])
    secrets.show("second")
    assert (str(key), [*fallbacks]) == ("first", ["second"])
    secrets.manager.clock.advance(TTL - 1)
    assert (str(key), [*fallbacks]) == ("first", ["second"])
    secrets.manager.clock.advance(1)
    assert (str(key), [*fallbacks]) == ("second", ["first"])


def test_a_process_that_starts_later_signs_with_the_current_key(secrets: Secrets) -> None:
    secrets.show("first", "second")
    key, fallbacks = secret_keys("prod/django")
    assert (str(key), fallbacks[0], len(fallbacks), bool(fallbacks), "first" in fallbacks) == (
        *("second", "first", 1, True, True),
    )
    assert fallbacks + ("more",) == ("first", "more")  # noqa: RUF005 - as settings may do
    assert fallbacks == ("first",)
    assert repr(fallbacks) == "<SecretTexts of 'prod/django'>"
    assert isinstance(fallbacks, tuple)
    assert copy.deepcopy(fallbacks) is fallbacks
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(fallbacks)


def test_a_previous_version_of_another_form_is_no_fallback(secrets: Secrets) -> None:
    secrets.show("first", '{"key": "second"}')
    key, fallbacks = secret_keys("prod/django", "key")
    assert (str(key), [*fallbacks]) == ("second", [])


def test_mail_logs_in_with_the_password_of_the_moment(secrets: Secrets) -> None:
    secrets.show(json.dumps({"username": "mailer", "password": "first"}))
    login = {name: secret_text("prod/django", name) for name in ("username", "password")}
    with override_settings(**mail_settings(login)):
        backend: Any = mail.mailers["default"] if HAS_MAILERS else mail.get_connection()
        assert (str(backend.username), str(backend.password)) == ("mailer", "first")
        secrets.show(json.dumps({"username": "mailer", "password": "second"}))
        assert str(backend.password) == "second"


HAS_MAILERS = hasattr(mail, "mailers")  # since Django 6.1


def mail_settings(login: dict[str, Any]) -> dict[str, Any]:
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    if HAS_MAILERS:
        return {"MAILERS": {"default": {"BACKEND": smtp, "OPTIONS": {"host": "mail.invalid", **login}}}}
    return {"EMAIL_BACKEND": smtp, "EMAIL_HOST_USER": login["username"], "EMAIL_HOST_PASSWORD": login["password"]}


def test_a_cache_over_tls() -> None:
    assert issubclass(redis_options("prod/redis", tls=True)["connection_class"], redis.SSLConnection)


@pytest.mark.parametrize("location", ["redis://", "redis://127.0.0.1"])
def test_djangos_redis_cache_logs_in_through_a_rotation(redis_server: Redis, location: str) -> None:
    with Rotating(redis_server.create_user, redis_server.set_password, host=HOST, port=redis_server.port) as account:
        before = set_default_cache(account.cache)
        try:
            if location != "redis://":
                location = f"{location}:{redis_server.port}"
            cache: Any = RedisCache(location, {"OPTIONS": redis_options(account.secret_id)})
            cache.set(account.user, 1)
            account.rotate()
            assert cache.get(account.user) == 1
            cache.close()
            cache._cache._get_connection_pool(write=True).disconnect()
            assert cache.incr(account.user) == 2
            cache._cache._get_connection_pool(write=True).disconnect()
        finally:
            set_default_cache(before)
