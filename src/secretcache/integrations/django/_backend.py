"""What the backends have in common: a wrapper that logs in with a secret and replaces its connection softly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from secretcache.integrations.django._source import Opened, Source, check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper as _Wrapper
    from django.db.backends.base.creation import BaseDatabaseCreation as _Creation

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
        check(self.settings_dict, self.alias, self.vendor)
        super().check_settings()

    def is_auth_error(self, error: Exception) -> bool:
        """Whether the driver says that the password was refused."""
        raise NotImplementedError

    @property
    def source(self) -> Source:
        """The secret that this alias logs in with."""
        return Source.of(
            self.settings_dict, self.alias, refused=self.is_auth_error, bridge=self.bridge, vendor=self.vendor
        )

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Logs in, bridging a rotation."""
        opened = self.open(conn_params)
        self._stamp = opened.stamp
        return opened.connection

    def open(self, conn_params: dict[str, Any]) -> Opened[Any]:
        """A new connection of its own, with what it was made with."""
        connect = super().get_new_connection
        source = self.source
        return source.connect(lambda credentials: connect(source.completed(conn_params, credentials)))

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
        name: str = super()._get_test_db_name()  # type: ignore[misc] # the stubs lack it
        if self.connection.settings_dict["NAME"] != "" or self.connection.settings_dict["TEST"]["NAME"]:
            return name
        source: Source = self.connection.source  # type: ignore[attr-defined]
        return f"{name}{source.database()}"


def with_credentials(wrapper: SecretLogin) -> dict[str, Any]:
    """The alias's settings as a stock alias would have them, with a password that has just worked."""
    wrapper.check_settings()
    opened = wrapper.open(wrapper.get_connection_params())
    opened.connection.close()
    known = opened.credentials
    from_secret = {"USER": known.username, "PASSWORD": known.password, "HOST": known.host, "PORT": known.port}
    if wrapper.settings_dict["NAME"] == "":
        from_secret["NAME"] = known.dbname
    return {**wrapper.settings_dict, **{key: value for key, value in from_secret.items() if value is not None}}
