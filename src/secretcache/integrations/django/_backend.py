"""What the backends have in common: a wrapper that logs in with a secret and replaces its connection softly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from secretcache.integrations.django._source import Opened, Source, check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper as _Wrapper
    from django.db.backends.base.creation import BaseDatabaseCreation as _Creation

    from secretcache.integrations._credentials import Credentials
    from secretcache.integrations._stamps import Stamp
else:
    _Wrapper = _Creation = object

__all__ = ["SecretCreation", "SecretLogin", "with_credentials"]


class SecretLogin(_Wrapper):
    """To be put before a stock `DatabaseWrapper`."""

    bridge: ClassVar[Mapping[str, Any]] = {}
    _stamp: Stamp | None = None

    def check_settings(self) -> None:
        """Refuses what is not sound, before anything is connected or read."""
        check(self.settings_dict, self.alias)
        super().check_settings()

    def is_auth_error(self, error: Exception) -> bool:
        """Whether the driver says that the password was refused."""
        raise NotImplementedError

    @property
    def source(self) -> Source:
        """The secret that this alias logs in with."""
        return Source.of(self.settings_dict, self.is_auth_error, self.bridge)

    def name_database(self) -> None:
        """Takes the database's name from the secret if the settings have none."""
        if self.settings_dict["NAME"] == "":
            self.settings_dict["NAME"] = self.source.database()

    def get_connection_params(self) -> dict[str, Any]:
        """Stock parameters, without what the secret knows."""
        self.name_database()
        return super().get_connection_params()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Logs in, bridging a rotation."""
        opened = self.open(conn_params)
        self._stamp = opened.stamp
        return opened.connection

    def open(self, conn_params: dict[str, Any]) -> Opened[Any]:
        """A new connection of its own, with what it was made with."""
        connect = super().get_new_connection
        return self.source.connect(lambda credentials: connect(completed(conn_params, credentials)))

    def close_if_unusable_or_obsolete(self) -> None:
        """Between two requests: a connection made with an older version goes too."""
        super().close_if_unusable_or_obsolete()
        if self.connection is not None and self._stamp is not None and self.source.is_due(self._stamp):
            self.close()


class SecretCreation(_Creation):
    """To be put before a stock `DatabaseCreation`: where a test database is may be known to the secret alone."""

    def test_db_signature(self) -> tuple[str, str, str, str]:
        """What tells two aliases' databases apart."""
        host, port, engine, name = super().test_db_signature()
        return host or self.connection.settings_dict["SECRET"], port, engine, name

    def _get_test_db_name(self) -> str:
        self.connection.name_database()  # type: ignore[attr-defined]
        name: str = super()._get_test_db_name()  # type: ignore[misc] # the stubs lack it
        return name


def completed(params: dict[str, Any], credentials: Credentials) -> dict[str, Any]:
    """Parameters as a driver takes them: what the settings say wins, except for the password."""
    filled = {"user": credentials.username, **params, "password": credentials.password}
    if "unix_socket" not in params and credentials.host:
        filled.setdefault("host", credentials.host)
    if credentials.port:
        filled.setdefault("port", credentials.port)
    return filled


def with_credentials(wrapper: SecretLogin) -> dict[str, Any]:
    """The alias's settings as a stock alias would have them, with a password that has just worked."""
    wrapper.check_settings()
    opened = wrapper.open(wrapper.get_connection_params())
    opened.connection.close()
    known = opened.credentials
    from_secret = {"USER": known.username, "PASSWORD": known.password, "HOST": known.host, "PORT": known.port}
    return {**wrapper.settings_dict, **{key: value for key, value in from_secret.items() if value is not None}}
