"""A source for pydantic-settings: fields come from a secret, through the cache.

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(hide_input_in_errors=True)
        db_user: str
        db_password: SecretStr

        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **_):
            database = SecretsSource(settings_cls, "prod/db", keys={"db_user": "username", "db_password": "password"})
            return init_settings, env_settings, database

Each `Settings()` reads the cache anew, which is a lookup in memory: make one where it is needed, rather than one for
the life of the process, and it follows rotation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secretcache._errors import ConfigurationError, SecretFormatError
from secretcache.integrations._find import cache_or_default

try:
    from pydantic import AliasChoices, AliasPath
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
except ImportError as error:
    raise ImportError(
        "secretcache.integrations.pydantic_settings needs pydantic-settings: "
        'pip install "secretcache[pydantic-settings]"'
    ) from error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic.fields import FieldInfo

    from secretcache._cache import SecretCache
    from secretcache._secret import Secret

__all__ = ["SecretsSource"]


class SecretsSource(PydanticBaseSettingsSource):
    """The fields of one secret. A settings class may have several, each for a secret of its own.

    A key of the secret that no field asks for is left out. What the secret does not have is left to the other sources
    and to the field's default.

    Args:
        settings_cls: the settings class; its `model_config` must have `hide_input_in_errors=True`, since a
            ValidationError shows its input. (`error.errors()` still holds it: do not log that.)
        secret_id: the secret's name or ARN.
        cache: the cache, or the dotted path of one; the process's `default_cache()` unless told otherwise.
        keys: which key of the secret each field has, by the field's name: `{"db_password": "password"}`. Only
            these fields are taken then. Without it: the key of the field's own name or alias, in upper or lower case
            unless `case_sensitive` is set.
        field: the one field that takes the whole secret, which then need not be JSON.

    Raises:
        ConfigurationError: an argument is not sound; the message names it.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        secret_id: str,
        *,
        cache: SecretCache | str | None = None,
        keys: Mapping[str, str] | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(settings_cls)
        if not self.config.get("hide_input_in_errors"):
            raise ConfigurationError(
                f"{settings_cls.__name__}.model_config must have hide_input_in_errors=True: "
                "a ValidationError would show the secret's value"
            )
        if keys is not None and field is not None:
            raise ConfigurationError("keys and field contradict one another: field takes the whole secret")
        self._refuse_unknown("keys", keys or ())
        self._refuse_unknown("field", () if field is None else (field,))
        self._secret_id, self._cache, self._keys, self._field = secret_id, cache, keys, field

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The value for a field or None, the name that the model takes it under, and that it is parsed already.

        Raises:
            SecretCacheError: as `SecretCache.get`.
            KeyError: the secret has no key of that name, which `keys` told to take.
        """
        found = self._found(self._read(), field, field_name)
        name = next(iter(found), field_name)
        return found.get(name), name, False

    def __call__(self) -> dict[str, Any]:
        """What the secret has for the model's fields.

        Raises:
            SecretCacheError: as `SecretCache.get`; SecretFormatError if fields are wanted of what is no JSON object.
            KeyError: the secret has no key of that name, which `keys` told to take.
        """
        secret, found = self._read(), {}
        for name, field in self.settings_cls.model_fields.items():
            found.update(self._found(secret, field, name))
        return found

    def __repr__(self) -> str:
        return f"SecretsSource(secret_id={self._secret_id!r})"

    def _read(self) -> Secret:
        return cache_or_default(self._cache).get(self._secret_id)

    def _found(self, secret: Secret, field: FieldInfo, name: str) -> dict[str, Any]:
        """One field's value by the name that the model takes it under, or nothing."""
        names = _names(field, name)
        if self._field is not None:
            return {names[0]: secret.string} if name == self._field else {}
        if self._keys is not None:
            return {names[0]: secret[self._keys[name]]} if name in self._keys else {}
        fold = str if self.config.get("case_sensitive") else str.lower
        values = {fold(key): value for key, value in _object(secret).items()}
        return next(({one: values[fold(one)]} for one in names if fold(one) in values), {})

    def _refuse_unknown(self, argument: str, names: Any) -> None:
        unknown = [name for name in names if name not in self.settings_cls.model_fields]
        if unknown:
            raise ConfigurationError(f"{argument}: {self.settings_cls.__name__} has no field {', '.join(unknown)}")


def _names(field: FieldInfo, name: str) -> list[str]:
    """Under which names the model takes a field, the first preferred."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [name if alias is None else alias]
    return [str(choice.path[0]) if isinstance(choice, AliasPath) else choice for choice in choices]


def _object(secret: Secret) -> dict[str, Any]:
    values = secret.json()
    if not isinstance(values, dict):
        raise SecretFormatError(f"secret {secret.name!r} is JSON but not an object: give its field by field=")
    return values
