"""The source for pydantic-settings: fields from a secret, anew for each instance, and no value in an error's text."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from secretcache import ConfigurationError, SecretCache, SecretFormatError, SecretNotFoundError
from secretcache.integrations.pydantic_settings import SecretsSource
from secretcache.testing import FakeSecretsManager

HIDDEN = SettingsConfigDict(hide_input_in_errors=True)
PASSWORD = "s3cret-of-v1"


class Given(BaseSettings):
    """A settings class whose tests say which source it has."""

    model_config = HIDDEN
    secret_id: ClassVar[str] = "prod/db"
    options: ClassVar[dict[str, Any]] = {}

    @classmethod
    def settings_customise_sources(  # type: ignore[override] # as pydantic-settings calls it: all by name
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, SecretsSource(settings_cls, cls.secret_id, **cls.options)


@pytest.fixture
def manager(secret_cache: SecretCache, fake_secrets_manager: FakeSecretsManager) -> FakeSecretsManager:
    """An application's own fixtures: `secret_cache` is the process's cache meanwhile."""
    says(fake_secrets_manager, username="app", password=PASSWORD)
    return fake_secrets_manager


def new(kind: Any) -> Any:
    """An instance without arguments, whose fields come from the sources: more than a type checker can know."""
    return kind()


def says(manager: FakeSecretsManager, **content: Any) -> None:
    manager.put("prod/db", content)


def test_fields_come_from_the_keys_of_their_names(manager: FakeSecretsManager) -> None:
    class Settings(Given):
        username: str
        password: SecretStr
        port: int = 5432

    settings = new(Settings)
    assert (settings.username, settings.password.get_secret_value(), settings.port) == ("app", PASSWORD, 5432)
    assert PASSWORD not in repr(settings)


def test_a_new_instance_follows_rotation_and_asks_nobody_while_the_value_is_fresh(
    manager: FakeSecretsManager, secret_cache: SecretCache
) -> None:
    class Settings(Given):
        password: str

    first = new(Settings)
    asked = len(manager.calls)
    assert new(Settings).password == PASSWORD
    assert len(manager.calls) == asked, "it was in memory"
    manager.rotate("prod/db", {"username": "app", "password": "s3cret-of-v2"})
    secret_cache.refresh("prod/db")
    assert new(Settings).password == "s3cret-of-v2"
    assert first.password == PASSWORD, "an instance is as it was made"


def test_upper_case_keys_are_found_unless_case_matters(manager: FakeSecretsManager) -> None:
    says(manager, PASSWORD=PASSWORD)

    class Settings(Given):
        password: str = "none"

    class Strict(Settings):
        model_config = SettingsConfigDict(case_sensitive=True)

    assert (new(Settings).password, new(Strict).password) == (PASSWORD, "none")


def test_aliases_are_looked_for_in_their_order(manager: FakeSecretsManager) -> None:
    says(manager, pass_word=PASSWORD, nested={"host": "db1"})

    class Settings(Given):
        password: str = Field(validation_alias=AliasChoices("passwd", "pass_word"))
        host: str = Field(validation_alias=AliasPath("nested", "host"))

    settings = new(Settings)
    assert (settings.password, settings.host) == (PASSWORD, "db1")


def test_nested_models_take_nested_objects(manager: FakeSecretsManager) -> None:
    class Database(BaseModel):
        password: SecretStr

    class Settings(Given):
        database: Database

    says(manager, database={"password": PASSWORD})
    assert new(Settings).database.password.get_secret_value() == PASSWORD


def test_keys_of_several_secrets_go_by_other_names(manager: FakeSecretsManager) -> None:
    class Settings(Given):
        options: ClassVar[dict[str, Any]] = {"keys": {"db_password": "password"}, "cache": manager.cache()}
        db_password: str
        username: str = "not taken"

    settings = new(Settings)
    assert (settings.db_password, settings.username) == (PASSWORD, "not taken")


def test_a_key_that_was_named_and_is_not_there_is_named(manager: FakeSecretsManager) -> None:
    class Settings(Given):
        options: ClassVar[dict[str, Any]] = {"keys": {"username": "user"}}
        username: str = "default"

    with pytest.raises(KeyError, match="no key 'user'") as caught:
        new(Settings)
    assert PASSWORD not in str(caught.value)


def test_a_field_takes_a_whole_secret(manager: FakeSecretsManager) -> None:
    manager.put("prod/db", "no JSON")

    class Settings(Given):
        options: ClassVar[dict[str, Any]] = {"field": "api_key"}
        api_key: SecretStr
        other: str = "default"

    settings = new(Settings)
    assert (settings.api_key.get_secret_value(), settings.other) == ("no JSON", "default")


@pytest.mark.parametrize("text", ["[1, 2]", "no JSON"])
def test_fields_of_what_is_no_object_are_an_error_without_its_text(manager: FakeSecretsManager, text: str) -> None:
    manager.put("prod/db", text)

    class Settings(Given):
        password: str = "default"

    with pytest.raises(SecretFormatError) as caught:
        new(Settings)
    assert text not in str(caught.value)


def test_earlier_sources_win(manager: FakeSecretsManager) -> None:
    class Settings(Given):
        username: str
        password: str

    assert Settings(username="given").username == "given"  # type: ignore[call-arg]


def test_a_secret_that_is_not_there_is_the_caches_own_error(manager: FakeSecretsManager) -> None:
    class Settings(Given):
        password: str = "default"

    manager.delete("prod/db", forever=True)
    with pytest.raises(SecretNotFoundError):
        new(Settings)


def test_no_value_in_the_text_of_a_validation_error(manager: FakeSecretsManager) -> None:
    class Settings(Given):
        password: int
        missing: str

    with pytest.raises(ValidationError) as caught:
        new(Settings)
    assert {error["loc"] for error in caught.value.errors()} == {("password",), ("missing",)}
    assert PASSWORD not in str(caught.value) + repr(caught.value)


def test_settings_whose_errors_would_show_their_input_are_refused(manager: FakeSecretsManager) -> None:
    class Settings(BaseSettings):
        password: int

    with pytest.raises(ConfigurationError, match=r"Settings\.model_config must have hide_input_in_errors=True"):
        SecretsSource(Settings, "prod/db")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"keys": {"pasword": "password"}}, "keys: Settings has no field pasword"),
        ({"field": "pasword"}, "field: Settings has no field pasword"),
        ({"field": "password", "keys": {}}, "contradict"),
    ],
)
def test_arguments_are_refused_by_name(options: dict[str, Any], says: str) -> None:
    class Settings(Given):
        password: str

    with pytest.raises(ConfigurationError, match=says):
        SecretsSource(Settings, "prod/db", **options)


def test_one_field_at_a_time(manager: FakeSecretsManager) -> None:
    class Settings(Given):
        password: str
        other: str = "default"

    source = SecretsSource(Settings, "prod/db")
    fields = Settings.model_fields
    assert source.get_field_value(fields["password"], "password") == (PASSWORD, "password", False)
    assert source.get_field_value(fields["other"], "other") == (None, "other", False)
    assert repr(source) == "SecretsSource(secret_id='prod/db')"
