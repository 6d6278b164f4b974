"""What this process has written, and which answers of a replica are behind it.

A write goes to the primary region, and a replica follows later. Until it shows what was written, its answer is no
answer: the next region is asked, and the primary in the end.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from secretcache._transport import BatchCall, Call, Failure, Fault
from secretcache._versions import answered_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from secretcache._ids import Query, SecretId
    from secretcache._transport import Reply, Request, Transport

__all__ = ["UpToDate", "Written"]

_DOUBT = 900.0
"""Seconds for which only the region written to is believed, where the write did not tell the version to expect: as long
as a version not seen before is doubted (row K in docs/semantics.md)."""
_MOST = 1024
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True, eq=False, repr=False)
class _Mark:
    """One secret that was written."""

    region: str
    ticket: int
    until: float
    shown: dict[str, str]
    """By stage, the version that the region written to has shown since, or that the write has told."""
    awaited: bool
    """Whether what is to be shown will come in its own time: until then even the region written to says nothing new."""
    caught_up: set[tuple[str, str]] = field(default_factory=set)
    """Regions, by stage, that have shown it too: what they show from then on is no older."""


class Written:
    """The secrets written through this process."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.ticket = 0
        """The number of the write that ended last: a request sent before it knows nothing of it."""
        self._now = now
        self._marks: dict[SecretId, _Mark] = {}
        self._lock = threading.RLock()
        """Over who writes. Who reads takes none: a mark is replaced in one step."""

    def begin_anew(self) -> None:
        """In a child: a thread of the parent may hold the lock."""
        self._lock = threading.RLock()

    def note(self, arn: str, region: str, stages: Mapping[str, str] = _NOTHING, *, awaited: bool = False) -> None:
        """A secret was written in its primary region.

        `stages` are the versions it is known to show from now on or, of a rotation (`awaited`), to show some time.
        """
        secret = answered_id(arn, region)
        if secret is None:
            return
        with self._lock:
            ticket = self.ticket + 1
            # In the place of the one before: without a mark, an answer from before the write would be believed.
            self._marks[secret] = _Mark(region, ticket, self._now() + _DOUBT, dict(stages), awaited)
            self.ticket = ticket
            if len(self._marks) > _MOST:
                self._marks.pop(min(self._marks, key=self._written_at), None)

    def _written_at(self, secret: SecretId) -> int:
        return self._marks[secret].ticket

    def judge(self, call: Request, reply: Reply, sent_after: int) -> Reply:
        """The reply, or what is left of it when what is behind a write is taken away."""
        if not self._marks or isinstance(reply, Failure):
            return reply
        if isinstance(call, Call):
            return _BEHIND if self._is_behind(call.region, call.query, reply, sent_after) else reply
        values = reply.get("SecretValues")
        if not isinstance(call, BatchCall) or not isinstance(values, list):
            return reply
        # A batch asks for current versions only, so any of its queries names the stage.
        behind = partial(self._is_behind, call.region, call.queries[0], sent_after=sent_after)
        return {**reply, "SecretValues": [value for value in values if not behind(value)]}

    def _is_behind(self, region: str, query: Query, told: Mapping[str, Any], sent_after: int) -> bool:
        secret = answered_id(str(told.get("ARN")), region)
        mark = self._marks.get(secret) if secret else None
        # A version that is asked for by its id alone is the same everywhere.
        if mark is None or query.stage is None or sent_after < mark.ticket:
            return False
        return self._lags(mark, region, query.stage, str(told.get("VersionId")))

    def _lags(self, mark: _Mark, region: str, stage: str, version: str) -> bool:
        in_doubt = self._now() < mark.until
        if region == mark.region:
            if not (mark.awaited and in_doubt and mark.shown.get(stage, version) != version):
                mark.shown[stage] = version
        elif mark.shown.get(stage) == version:
            mark.caught_up.add((region, stage))
        elif (region, stage) not in mark.caught_up:
            return in_doubt or (stage in mark.shown and not mark.awaited)
        return False


_BEHIND = Failure(Fault.MISSING, "BehindAWrite", "this replica does not show yet what was written", answered=True)


class UpToDate:
    """A transport whose answers are never behind what this process has written."""

    def __init__(self, transport: Transport, written: Written) -> None:
        self.transport = transport
        self.written = written

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
        """As the transport; an answer that is behind a write counts as none."""
        ticket = self.written.ticket
        return self.written.judge(call, self.transport.send(call), ticket)

    def reload(self) -> None:
        """As the transport."""
        self.transport.reload()

    def host(self, region: str) -> str:
        """As the transport."""
        return self.transport.host(region)

    def close(self) -> None:
        """As the transport."""
        self.transport.close()
