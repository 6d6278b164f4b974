"""What stands between the transport and the cache's memory where there is a hook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secretcache._transport import Call, Failure, Fault

if TYPE_CHECKING:
    from secretcache._secret import Secret
    from secretcache._transport import Reply, Request, Transport
    from secretcache.compat.aws_secretsmanager_caching.cache.secret_cache_hook import SecretCacheHook

__all__ = ["Hooked", "kept_in"]

_CONTENT = ("SecretString", "SecretBinary")


class _Kept(str):
    """An empty text in the value's place, which carries what the hook made of the response."""

    __slots__ = ("kept",)
    kept: Any


@dataclass(slots=True)
class Hooked:
    """A transport whose answers a hook prepares: the cache never holds the value itself."""

    transport: Transport
    hook: SecretCacheHook

    def ready(self, region: str) -> bool:
        """As the transport."""
        return self.transport.ready(region)

    def prepare(self, region: str) -> Failure | None:
        """As the transport."""
        return self.transport.prepare(region)

    def pending(self, region: str) -> str:
        """As the transport."""
        return self.transport.pending(region)

    def send(self, call: Request) -> Reply:
        """As the transport, with what the hook made of the answer in the value's place."""
        reply = self.transport.send(call)
        if isinstance(reply, Failure) or not isinstance(call, Call) or not any(one in reply for one in _CONTENT):
            return reply
        kept = _Kept()
        try:
            kept.kept = self.hook.put(dict(reply))
        except Exception as error:  # noqa: BLE001 - the reader gets it
            return Failure(
                Fault.CALLER, type(error).__name__, "secret_cache_hook.put failed", error.with_traceback(None)
            )
        return {**{name: value for name, value in reply.items() if name not in _CONTENT}, "SecretString": kept}

    def reload(self) -> None:
        """As the transport."""
        self.transport.reload()

    def host(self, region: str) -> str:
        """As the transport."""
        return self.transport.host(region)

    def close(self) -> None:
        """As the transport."""
        self.transport.close()


def kept_in(secret: Secret) -> Any:
    """What the hook made of the response that brought this secret."""
    kept = secret.string
    assert isinstance(kept, _Kept)  # noqa: S101 - every value of a cache with a hook is one
    return kept.kept
