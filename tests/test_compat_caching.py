"""One suite, run twice: against `aws-secretsmanager-caching` and against our names for it, over moto.

It checks what that package documents: its README and docstrings, not its attributes.
"""

# mypy: disable-error-code="untyped-decorator"
from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

import secretcache
from secretcache import SecretCache
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Refuse
from secretcache._freshness import Retry
from secretcache.compat.aws_secretsmanager_caching._failures import Failures
from support import OSAKA, REGIONS, TOKYO, ManualRuntime

pytestmark = pytest.mark.usefixtures("steady_regions")

THEIRS, OURS = "aws_secretsmanager_caching", "secretcache.compat.aws_secretsmanager_caching"
PATIENCE = 20.0


@pytest.fixture(params=[THEIRS, OURS])
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == THEIRS:
        # A forced refresh sleeps 2.5 to 10 seconds first.
        items = importlib.import_module("aws_secretsmanager_caching.cache.items").SecretCacheObject
        monkeypatch.setattr(items, "FORCE_REFRESH_JITTER_SLEEP", 0)
        monkeypatch.setattr(items, "FORCE_REFRESH_MAX_SLEEP", 0)
    return importlib.import_module(request.param)


@pytest.fixture
def client(manager: EmbeddedSecretsManager) -> Iterator[Any]:
    """A botocore client that the application has already."""
    made: Any = manager.session(TOKYO).create_client(
        "secretsmanager",
        endpoint_url=manager.endpoint_urls[TOKYO],
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
    yield made
    made.close()


@pytest.fixture
def make(package: Any, client: Any) -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def cache(**options: Any) -> Any:
        made.append(package.SecretCache(package.SecretCacheConfig(**options), client))
        return made[-1]

    yield cache
    for one in made:
        if package.__name__ == OURS:
            one.close()


@pytest.fixture
def name(manager: EmbeddedSecretsManager) -> str:
    return new(manager, '{"username": "app", "password": "v1"}')


def new(manager: EmbeddedSecretsManager, value: str | bytes) -> str:
    made = f"test/{uuid4().hex}"
    manager.create(made, value)
    return made


def asked(manager: EmbeddedSecretsManager) -> int:
    return len(manager.proxies[TOKYO].requests)


# names


def test_names_and_modules(package: Any) -> None:
    where = {
        "config": ["SecretCacheConfig"],
        "secret_cache": ["SecretCache"],
        "decorators": ["InjectSecretString", "InjectKeywordedSecretString"],
    }
    for module, names in where.items():
        found = importlib.import_module(f"{package.__name__}.{module}")
        assert all(getattr(found, one) is getattr(package, one) for one in names)
    hook = importlib.import_module(f"{package.__name__}.cache.secret_cache_hook").SecretCacheHook
    assert {"put", "get"} <= set(dir(hook))
    assert isinstance(package.SecretCache.__version__, str)


def test_the_documented_options_and_defaults(package: Any) -> None:
    config = package.SecretCacheConfig()
    assert config.max_cache_size == 1024
    assert (config.exception_retry_delay_base, config.exception_retry_growth_factor) == (1, 2)
    assert (config.exception_retry_delay_max, config.secret_refresh_interval) == (3600, 3600)
    assert (config.default_version_stage, config.secret_cache_hook) == ("AWSCURRENT", None)
    assert package.SecretCacheConfig(max_cache_size=7).max_cache_size == 7
    with pytest.raises(TypeError, match="max_cache"):
        package.SecretCacheConfig(max_cache=7)


# strings, binaries, stages


def test_a_string(make: Callable[..., Any], manager: EmbeddedSecretsManager, name: str) -> None:
    cache = make()
    assert cache.get_secret_string(name) == '{"username": "app", "password": "v1"}'
    before = asked(manager)
    assert cache.get_secret_string(secret_id=name) == '{"username": "app", "password": "v1"}'
    assert asked(manager) == before
    assert cache.get_secret_binary(name) is None


def test_a_binary(make: Callable[..., Any], manager: EmbeddedSecretsManager) -> None:
    cache, name = make(), new(manager, b"\x00\xff")
    assert cache.get_secret_binary(name) == b"\x00\xff"
    assert cache.get_secret_binary(secret_id=name) == b"\x00\xff"
    assert cache.get_secret_string(name) is None


def test_by_arn(make: Callable[..., Any], manager: EmbeddedSecretsManager, name: str) -> None:
    arn = manager.admin().describe_secret(SecretId=name)["ARN"]
    assert make().get_secret_string(arn) == '{"username": "app", "password": "v1"}'


def test_stages(make: Callable[..., Any], manager: EmbeddedSecretsManager) -> None:
    name = new(manager, "v1")
    manager.rotate(name, "v2")
    cache = make()
    assert cache.get_secret_string(name) == "v2"
    assert cache.get_secret_string(name, version_stage="AWSPREVIOUS") == "v1"
    assert cache.get_secret_string(name, "AWSCURRENT") == "v2"
    assert cache.get_secret_string(name, "AWSPENDING") is None
    assert cache.get_secret_binary(name, "AWSPENDING") is None


def test_the_default_stage(make: Callable[..., Any], manager: EmbeddedSecretsManager) -> None:
    name = new(manager, "v1")
    manager.rotate(name, "v2")
    cache = make(default_version_stage="AWSPREVIOUS")
    assert cache.get_secret_string(name) == "v1"
    assert cache.get_secret_string(name, "AWSCURRENT") == "v2"
    manager.rotate(name, "v3")
    assert cache.refresh_secret_now(name) is True
    assert cache.get_secret_string(name) == "v2"
    assert cache.get_secret_string(name, "AWSCURRENT") == "v3"


# refreshing


def test_within_the_refresh_interval_the_value_stays(make: Callable[..., Any], manager: EmbeddedSecretsManager) -> None:
    cache, name = make(secret_refresh_interval=3600), new(manager, "v1")
    assert cache.get_secret_string(name) == "v1"
    manager.rotate(name, "v2")
    assert cache.get_secret_string(name) == "v1"


def test_after_the_refresh_interval_the_new_value_comes(
    make: Callable[..., Any], manager: EmbeddedSecretsManager
) -> None:
    cache, name = make(secret_refresh_interval=1), new(manager, "v1")
    assert cache.get_secret_string(name) == "v1"
    manager.rotate(name, "v2")
    deadline = time.monotonic() + PATIENCE
    while cache.get_secret_string(name) != "v2":
        assert time.monotonic() < deadline


def test_refresh_secret_now(make: Callable[..., Any], manager: EmbeddedSecretsManager) -> None:
    cache, name = make(), new(manager, "v1")
    assert cache.get_secret_string(name) == "v1"
    assert cache.get_secret_string(name, "AWSPREVIOUS") is None
    manager.rotate(name, "v2")
    assert cache.refresh_secret_now(name) is True
    assert cache.get_secret_string(name) == "v2"
    assert cache.get_secret_string(name, "AWSPREVIOUS") == "v1"


def test_refresh_secret_now_that_fails_keeps_the_value(
    make: Callable[..., Any], manager: EmbeddedSecretsManager
) -> None:
    cache, name = make(), new(manager, "v1")
    assert cache.get_secret_string(name) == "v1"
    manager.proxies[TOKYO].set_fault(Refuse())
    assert cache.refresh_secret_now(secret_id=name) is False
    assert cache.get_secret_string(name) == "v1"
    assert cache.refresh_secret_now("no/such") is False


# errors


def test_a_secret_that_is_not_there(make: Callable[..., Any], client: Any) -> None:
    cache = make()
    for read in (cache.get_secret_string, cache.get_secret_binary):
        with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
            read("no/such")
        assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_an_outage(make: Callable[..., Any], manager: EmbeddedSecretsManager, name: str) -> None:
    cache = make(secret_refresh_interval=0, exception_retry_delay_base=0)
    held = cache.get_secret_string(name)
    manager.proxies[TOKYO].set_fault(Refuse())
    assert cache.get_secret_string(name) == held
    with pytest.raises(EndpointConnectionError):
        cache.get_secret_string("never/read")
    manager.proxies[TOKYO].heal()
    assert cache.get_secret_string(name) == held


def test_after_a_failure_nothing_is_asked_until_the_delay_is_over(
    make: Callable[..., Any], manager: EmbeddedSecretsManager, client: Any
) -> None:
    cache, name = make(exception_retry_delay_base=3600), f"test/{uuid4().hex}"
    with pytest.raises(client.exceptions.ResourceNotFoundException) as first:
        cache.get_secret_string(name)
    manager.create(name, "v1")
    before = asked(manager)
    with pytest.raises(client.exceptions.ResourceNotFoundException) as second:
        cache.get_secret_string(name)
    assert asked(manager) == before
    assert str(second.value) == str(first.value)
    assert cache.refresh_secret_now(name) is True
    assert cache.get_secret_string(name) == "v1"


@pytest.mark.parametrize(
    "delay", [{"exception_retry_delay_base": 0}, {"exception_retry_delay_base": 900, "exception_retry_delay_max": 0}]
)
def test_after_the_delay_it_is_asked_again(
    make: Callable[..., Any], manager: EmbeddedSecretsManager, client: Any, delay: dict[str, int]
) -> None:
    cache, name = make(**delay), f"test/{uuid4().hex}"
    for _ in range(2):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            cache.get_secret_string(name)
    manager.create(name, "v1")
    assert cache.get_secret_string(name) == "v1"


# eviction


def test_beyond_max_cache_size_a_secret_is_asked_for_again(
    make: Callable[..., Any], manager: EmbeddedSecretsManager
) -> None:
    cache, first, second = make(max_cache_size=1), new(manager, "a1"), new(manager, "b1")
    assert (cache.get_secret_string(first), cache.get_secret_string(second)) == ("a1", "b1")
    manager.rotate(first, "a2")
    manager.rotate(second, "b2")
    assert cache.get_secret_string(second) == "b1"
    assert cache.get_secret_string(first) == "a2"


# hooks


class Sealing:
    """Keeps what is stored in memory in a form of its own."""

    seen: ClassVar[list[str]] = []

    def put(self, obj: Any) -> Any:
        self.seen.append("put")
        return ("sealed", obj)

    def get(self, cached_obj: Any) -> Any:
        if cached_obj is None:
            return None
        seal, obj = cached_obj
        assert seal == "sealed"
        self.seen.append("get")
        return obj


class Failing(Sealing):
    def put(self, obj: Any) -> Any:
        raise ArithmeticError("cannot seal")


def hook(package: Any, kind: type[Any]) -> Any:
    base = importlib.import_module(f"{package.__name__}.cache.secret_cache_hook").SecretCacheHook
    return type(kind.__name__, (kind, base), {})()


def test_a_hook_stands_between_the_cache_and_its_memory(
    package: Any, make: Callable[..., Any], manager: EmbeddedSecretsManager, name: str
) -> None:
    Sealing.seen.clear()
    cache = make(secret_cache_hook=hook(package, Sealing))
    assert cache.get_secret_string(name) == '{"username": "app", "password": "v1"}'
    stored = Sealing.seen.count("put")
    assert stored >= 1
    Sealing.seen.clear()
    assert cache.get_secret_string(name) == '{"username": "app", "password": "v1"}'
    assert set(Sealing.seen) == {"get"}
    binary = new(manager, b"\x01")
    assert cache.get_secret_binary(binary) == b"\x01"
    assert cache.get_secret_string(binary) is None
    manager.rotate(name, "v2")
    assert cache.refresh_secret_now(name) is True
    assert cache.get_secret_string(name) == "v2"


def test_a_hook_that_fails_fails_the_read(package: Any, make: Callable[..., Any], name: str) -> None:
    with pytest.raises(ArithmeticError, match="cannot seal"):
        make(secret_cache_hook=hook(package, Failing)).get_secret_string(name)


# decorators


def test_a_secret_as_first_argument(package: Any, make: Callable[..., Any], manager: EmbeddedSecretsManager) -> None:
    name = new(manager, "v1")
    cache = make()

    @package.InjectSecretString(name, cache)
    def login(password: str, user: str, *, host: str = "db") -> str:
        """Logs in."""
        return f"{user}:{password}@{host}"

    assert login("app") == "app:v1@db"
    assert login("app", host="other") == "app:v1@other"
    assert login(user="app") == "app:v1@db"
    assert (login.__name__, login.__doc__) == ("login", "Logs in.")
    manager.rotate(name, "v2")
    assert cache.refresh_secret_now(name)
    assert login("app") == "app:v2@db"


def test_a_secret_as_a_methods_first_argument(
    package: Any, make: Callable[..., Any], manager: EmbeddedSecretsManager
) -> None:
    name = new(manager, "v1")

    class Service:
        user = "app"

        @package.InjectSecretString(secret_id=name, cache=make())
        def login(self, password: str, host: str) -> str:
            return f"{self.user}:{password}@{host}"

        @staticmethod
        @package.InjectSecretString(name, make())
        def stated(password: str, host: str) -> str:
            return f"{password}@{host}"

    class Special(Service):
        user = "special"

    assert Service().login("db") == "app:v1@db"
    assert Special().login("db") == "special:v1@db"
    assert Service.stated("db") == "v1@db"


def test_keys_of_a_secret_as_keyword_arguments(
    package: Any, make: Callable[..., Any], manager: EmbeddedSecretsManager, name: str
) -> None:
    cache = make()

    @package.InjectKeywordedSecretString(
        secret_id=name, cache=cache, func_username="username", func_password="password"
    )
    def login(host: str, func_username: str, func_password: str) -> str:
        return f"{func_username}:{func_password}@{host}"

    class Service:
        @package.InjectKeywordedSecretString(name, cache, password="password")
        def login(self, host: str, password: str) -> str:
            return f"{password}@{host}"

    assert login("db") == "app:v1@db"
    assert login(host="db") == "app:v1@db"
    assert Service().login("db") == "v1@db"
    manager.rotate(name, '{"username": "app", "password": "v2"}')
    assert cache.refresh_secret_now(name)
    assert login("db") == "app:v2@db"


@pytest.mark.parametrize(("value", "says"), [("no JSON", "not valid JSON"), ('{"a": 1}', "does not contain key b")])
def test_a_secret_without_those_keys(
    package: Any, make: Callable[..., Any], manager: EmbeddedSecretsManager, value: str, says: str
) -> None:
    @package.InjectKeywordedSecretString(new(manager, value), make(), b="b")
    def never(b: str) -> None: ...

    with pytest.raises(RuntimeError, match=says):
        never()


# without a client


@mock_aws
def test_without_a_client_the_sessions_region_is_asked(package: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", TOKYO)
    boto3.client("secretsmanager", region_name=TOKYO).create_secret(Name="prod/db", SecretString="v1")
    cache = package.SecretCache()
    assert cache.get_secret_string("prod/db") == "v1"
    assert package.SecretCache(config=package.SecretCacheConfig()).get_secret_string("prod/db") == "v1"


# where ours goes further


@pytest.fixture
def ours(client: Any) -> Iterator[Any]:
    package = importlib.import_module(OURS)
    cache = package.SecretCache(client=client)
    yield cache
    cache.close()


def test_ours_fails_over_with_our_client(manager: EmbeddedSecretsManager, name: str) -> None:
    package = importlib.import_module(OURS)
    several = secretcache.client(REGIONS, endpoint_urls=manager.endpoint_urls, session_factory=manager.session)
    manager.proxies[OSAKA].set_fault(Refuse())
    cache = package.SecretCache(client=several)
    assert cache.get_secret_string(name) == '{"username": "app", "password": "v1"}'
    manager.proxies[OSAKA].heal()
    with pytest.raises(several.exceptions.ResourceNotFoundException):
        cache.get_secret_string("no/such")
    cache.close()
    several.close()


def test_ours_needs_one_permission_and_one_call(ours: Any, manager: EmbeddedSecretsManager, name: str) -> None:
    ours.get_secret_string(name)
    assert [request.operation for request in manager.proxies[TOKYO].requests] == ["GetSecretValue"]


def test_ours_leaves_the_callers_client_open(ours: Any, client: Any, name: str) -> None:
    ours.get_secret_string(name)
    ours.close()
    assert client.get_secret_value(SecretId=name)["Name"] == name


def test_ours_does_not_take_an_argument_for_an_instance(ours: Any, manager: EmbeddedSecretsManager) -> None:
    package, name = importlib.import_module(OURS), new(manager, "v1")

    @package.InjectSecretString(name, ours)
    def join(secret: str, parts: str) -> tuple[str, str]:
        return secret, parts

    class Made:
        @classmethod
        @package.InjectSecretString(name, ours)
        def of(cls, secret: str) -> tuple[type, str]:
            return cls, secret

    def later(self: Any, secret: str) -> str:
        return secret

    Made.later = package.InjectSecretString(name, ours)(later)  # type: ignore[attr-defined]
    assert join("text") == ("v1", "text")
    assert Made.of() == (Made, "v1")
    assert Made().later() == "v1"  # type: ignore[attr-defined]


def test_ours_quotes_no_secret_where_its_json_is_wrong(ours: Any, manager: EmbeddedSecretsManager) -> None:
    package = importlib.import_module(OURS)

    @package.InjectKeywordedSecretString(new(manager, "hunter2"), ours, b="b")
    def never(b: str) -> None: ...

    with pytest.raises(RuntimeError) as caught:
        never()
    assert caught.value.__context__ is None
    assert "hunter2" not in repr(caught.value)


def test_ours_holds_nothing_but_what_the_hook_made(client: Any, name: str) -> None:
    package = importlib.import_module(OURS)
    cache = package.SecretCache(package.SecretCacheConfig(secret_cache_hook=Sealing()), client)
    cache.get_secret_string(name)
    held = cache._cache.get(name)
    assert held.string == ""
    assert isinstance(cache._cache, SecretCache)
    cache.close()


def test_delays_grow_and_end() -> None:
    runtime = ManualRuntime()
    failures = Failures(Retry(first=1, longest=5, growth=2, spread=0), 10, runtime.now)
    error, key = secretcache.SecretNotFoundError("no"), ("prod/db", "AWSCURRENT")
    assert not failures
    for delay in (1, 2, 4, 5, 5):
        failures.note(key, error)
        assert failures.of(key) is error
        runtime.advance(delay - 0.01)
        assert failures.must_wait(key)
        runtime.advance(0.02)
        assert not failures.must_wait(key)
        assert failures.must_wait(key), "one asks, and the others wait for what comes of it"
    failures.forget(key)
    assert failures.of(key) is None
    assert not failures.must_wait(key)


def test_no_more_failures_are_kept_than_secrets() -> None:
    failures = Failures(Retry(), 2, ManualRuntime().now)
    error = secretcache.SecretNotFoundError("no")
    for name in "abc":
        failures.note((name, "AWSCURRENT"), error)
    assert [failures.of((name, "AWSCURRENT")) for name in "abc"] == [None, error, error]


def test_a_failure_that_is_over_does_not_come_back(manager: EmbeddedSecretsManager, client: Any) -> None:
    package, name = importlib.import_module(OURS), f"test/{uuid4().hex}"
    options = {"exception_retry_delay_base": 0, "secret_refresh_interval": 0}
    cache = package.SecretCache(package.SecretCacheConfig(**options), client)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        cache.get_secret_string(name)
    manager.create(name, "v1")
    assert cache.get_secret_string(name) == "v1"
    assert not cache._failures
    manager.proxies[TOKYO].set_fault(Refuse())
    assert cache.get_secret_string(name) == "v1"
    assert not cache.refresh_secret_now(name)
    assert cache.get_secret_string(name) == "v1"
    cache.close()


def test_a_growth_without_end_is_no_overflow() -> None:
    assert Retry(first=1, longest=3600, growth=1000, spread=0).seconds(10_000, 1.0) == 3600
