"""The interface of what stands between a cache and its memory."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

__all__ = ["SecretCacheHook"]


class SecretCacheHook:
    """Acts on what is stored in memory and on what is taken out, for example to keep it encrypted there."""

    @abstractmethod
    def put(self, obj: Any) -> Any:
        """Returns what to store instead of `obj`, a response of GetSecretValue."""

    @abstractmethod
    def get(self, cached_obj: Any) -> Any:
        """Returns the response again, from what `put` made of it. Called at each read."""
