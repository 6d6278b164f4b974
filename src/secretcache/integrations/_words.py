"""What an integration's settings may say in place of the secret, in the words that its reader writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PLAIN", "Words"]


@dataclass(frozen=True)
class Words:
    """Names for messages, and what the driver takes. Advice names only what the integration's own checks accept."""

    names: Mapping[str, str] = field(default_factory=dict)
    """Our name of a key to the reader's, for the keys that the settings may say."""
    where: str = "the settings"
    """Where the reader writes them."""
    elsewhere: tuple[str, ...] = ()
    """The reader's names for what names a place without a host: hostaddr, service, a socket."""
    lists: bool = False
    """Whether the driver takes several hosts and ports: `a,b` and `1,2`, or sequences."""

    def of(self, key: str) -> str:
        """A key as the reader wrote it, with its place."""
        return f"{self.where}: {self.names.get(key, key)!r}"

    def advice(self, key: str) -> str:
        """What to set, to be put behind what to do with the secret. Empty where the settings may not say it."""
        return f", or set {self.names[key]!r} in {self.where}" if key in self.names else ""

    def places(self) -> str:
        """What names a place, for a secret that names none."""
        names = [self.names.get("host", "host"), *self.elsewhere]
        return " or ".join(repr(name) for name in names)


PLAIN = Words({name: name for name in ("engine", "host", "port", "dbname", "username")})
"""For what has no words of its own."""
