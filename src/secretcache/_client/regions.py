"""The real boto clients of the listed regions, for what is no cached read. Each is made when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from secretcache._client.shapes import BATCH
from secretcache._transport import Fault
from secretcache._transport._botocore import making
from secretcache._transport._classify import classify
from secretcache._transport._quiet import quiet_bodies
from secretcache._transport._sessions import default_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._settings import Settings

__all__ = ["Regions"]

_SERVICE = "secretsmanager"
_ELSEWHERE = frozenset({Fault.REGION, Fault.THROTTLED, Fault.IDENTITY, Fault.NOT_OFFERED})
_PAGES = 256
_BOUNDED = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
"""For reads that fail over: a silent region must not hold them for botocore's 60 s."""


class Regions:
    """One region's plain client after the other's, and what is asked of several.

    Takes no lock, which a fork could leave held: each step is one operation on one dictionary.
    """

    def __init__(self, settings: Settings) -> None:
        self.names = settings.regions
        self.primary = settings.primary_region or (self.names[0] if len(self.names) == 1 else None)
        self._settings = settings
        self._clients: dict[tuple[str, bool], Any] = {}
        self._pages: dict[str, str] = {}

    def make(self, region: str, *, bounded: bool = False) -> Any:
        """A new client of a region, with the caller's own configuration and nothing of the cache's."""
        settings = self._settings
        config = settings.config_of(region)
        if bounded:
            config = (config or Config()).merge(_BOUNDED)
        with making.one():  # a fork waits for it
            session: Any = (settings.session_factory or default_session)(region)
            create = getattr(session, "create_client", None) or session.client  # botocore's session, or boto3's
            with making.alone_with(session):
                return create(
                    _SERVICE, region_name=region, endpoint_url=settings.endpoint_urls.get(region), config=config
                )

    def client(self, region: str, *, bounded: bool = False) -> Any:
        """The client of a region, always the same one."""
        made = self._clients.get((region, bounded))
        if made is None:
            made = self._clients.setdefault((region, bounded), self.make(region, bounded=bounded))
        return made

    def batch(self, params: Mapping[str, Any]) -> Any:
        """BatchGetSecretValue of the first region that can answer; a further page of the one that gave the first."""
        began_in = self._pages.get(params.get("NextToken", ""))
        names = self.names if began_in is None else (began_in,)
        told = None
        for region in names[:-1]:
            told = told or self._batch_unless_down(region, params)
        return told or self._batch_of(names[-1], params)

    def _batch_unless_down(self, region: str, params: Mapping[str, Any]) -> Any:
        try:
            return self._batch_of(region, params)
        except (ClientError, BotoCoreError) as error:
            endpoint = self.client(region, bounded=True).meta.endpoint_url
            if classify(error, operation=BATCH, endpoint=endpoint).fault not in _ELSEWHERE:
                raise
            return None

    def _batch_of(self, region: str, params: Mapping[str, Any]) -> Any:
        with quiet_bodies():
            told = self.client(region, bounded=True).batch_get_secret_value(**params)
        told.get("ResponseMetadata", {}).pop("MaxAttemptsReached", None)  # of botocore's retries, which are off
        if token := told.get("NextToken"):
            self._pages[token] = region
            for oldest in list(self._pages)[:-_PAGES]:
                self._pages.pop(oldest, None)
        return told

    def close(self) -> None:
        """Lets go of the clients' idle connections."""
        for client in self._clients.copy().values():
            client.close()
