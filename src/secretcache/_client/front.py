"""A real boto client of the first region, whose reads of values are answered by a cache.

It takes part through botocore's own events: parameters are checked, a Stubber answers and handlers run as with any
client; the cache comes in where the request would be sent (`before-call`).
"""

from __future__ import annotations

import copy
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse, HTTPHeaders
from botocore.exceptions import ClientError

from secretcache._client.regions import Regions
from secretcache._client.shapes import BATCH, READ, answer, boto_error, metadata, read, value_of
from secretcache._client.writes import changes_values, home_of, in_region, is_write, shown_after
from secretcache._errors import ConfigurationError, SecretAccessDeniedError, SecretCacheError, SecretNotFoundError
from secretcache._ids import CURRENT, Query, parse_secret_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secretcache._cache import SecretCache
    from secretcache._secret import Secret

__all__ = ["make_client"]

_PARAMS, _REGION = "secretcache_params", "secretcache_region"
_BATCH_MOST = 20
_PLAIN = frozenset({"SecretId", "VersionStage"})
_ROTATION_SECONDS = 900.0
"""For so long after RotateSecret a read looks whether the new version has come: a Lambda function may run as long."""
_ROTATION_PACE = 1.0


def make_client(cache: SecretCache, *, owns: bool) -> Any:
    """A client over that cache, which it closes if it owns it."""
    regions = Regions(cache._settings)  # noqa: SLF001
    client = regions.make(regions.names[0])
    desk = _Desk(cache, regions, client)
    client.meta.events = _Watched(client.meta.events)
    kind = type(client)
    parts = {"cache": cache, "_desk": desk, "_owns": owns, "__doc__": kind.__doc__, "__module__": kind.__module__}
    client.__class__ = type(kind.__name__, (_Front, kind), parts)
    return client


class _Watched:
    """A client's events; tells whether somebody else has ever registered for them."""

    def __init__(self, events: Any) -> None:
        self._events = events
        self.touched = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("register", "unregister")):
            self.touched = True
        return getattr(self._events, name)


class _Front:
    """What is put before botocore's generated methods."""

    cache: SecretCache
    _desk: _Desk
    _owns: bool
    meta: Any

    def get_secret_value(self, *args: Any, **kwargs: Any) -> Any:
        # The common case skips botocore's pipeline, a hundred times the price of a hit. Whatever is out of the ordinary
        # (a Stubber, a wrong parameter) goes through it, and comes to the same desk in the end.
        if not args and not self.meta.events.touched and _is_plain(kwargs):
            told = self._desk.hit(kwargs) or self._desk.get_secret_value(kwargs)
            if told is not None:
                return told
        return super().get_secret_value(*args, **kwargs)  # type: ignore[misc] # of the class botocore generates

    def close(self) -> None:
        """Closes the cache, unless it was the caller's, and the connections of every region's client."""
        if self._owns:
            self.cache.close()
        self._desk.regions.close()
        super().close()  # type: ignore[misc]


def _is_plain(params: dict[str, Any]) -> bool:
    """Whether a request is one of the common, sound ones."""
    secret_id = params.get("SecretId")
    if type(secret_id) is not str or not secret_id:
        return False
    return len(params) == 1 or (params.keys() <= _PLAIN and all(type(one) is str and one for one in params.values()))


class _Desk:
    """Takes what a client is asked, and decides who answers."""

    def __init__(self, cache: SecretCache, regions: Regions, client: Any) -> None:
        self.regions = regions
        self._cache = cache
        self._exceptions = client.exceptions
        self._rotating: dict[str, _Rotation] = {}
        events = client.meta.events
        # Registered without the operation's name and last: whoever registers for an operation comes before.
        events.register_last("before-parameter-build", self._keep_params)
        events.register_last("before-call", self._before_call)
        events.register_first("after-call", self._after_call)
        events.register_first("after-call-error", self._after_error)

    def hit(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """The response where the current value is at hand and nothing has been rotated through this client."""
        secret = self._cache._held(params["SecretId"]) if len(params) == 1 and not self._rotating else None  # noqa: SLF001
        return answer(secret) if secret is not None else None

    def get_secret_value(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """The response; None if the cache does not understand the id: then the service may."""
        try:
            secret = read(self._cache, params)
            return answer(self._after_rotation(secret, params) if self._rotating else secret)
        except SecretCacheError as error:
            if _not_understood(error):
                return None
            unanswered = boto_error(error, READ, self._exceptions)
        raise unanswered

    def batch_get_secret_value(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """The response; None if it is not for the cache to give: filters are the service's business."""
        ids = params.get("SecretIdList", ())
        if params.keys() != {"SecretIdList"} or len(ids) > _BATCH_MOST:
            return None
        try:
            return self._batch(ids)
        except SecretCacheError as error:
            if _not_understood(error):
                return None
            unanswered = boto_error(error, BATCH, self._exceptions)
        raise unanswered

    def _batch(self, ids: list[str]) -> dict[str, Any]:
        failed = self._cache.prefetch(ids, timeout=self._cache._settings.timeout).failed  # noqa: SLF001
        values, errors = [], []
        for secret_id in ids:
            secret = self._held(secret_id) if secret_id in failed else self._cache.get(secret_id)
            if secret is not None:
                values.append(value_of(secret))
            else:
                errors.append(self._batch_error(secret_id, failed[secret_id]))
        return {"SecretValues": values, "Errors": errors, "ResponseMetadata": metadata({})}

    def _held(self, secret_id: str) -> Secret | None:
        """An older value that may stand in."""
        engine = self._cache._current()  # noqa: SLF001
        return engine.peek(Query(parse_secret_id(secret_id, self.regions.names)))

    def _batch_error(self, secret_id: str, error: SecretCacheError) -> dict[str, str]:
        raised = boto_error(error, BATCH, self._exceptions)
        if not isinstance(raised, ClientError) or not _is_of_the_secret(error):
            raise error  # of the regions, or of us: it concerns the whole call
        told = raised.response["Error"]
        return {"SecretId": secret_id, "ErrorCode": told["Code"], "Message": told["Message"]}

    # botocore's events

    def _keep_params(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[_PARAMS] = params

    def _before_call(self, model: Any, context: dict[str, Any], **_: Any) -> Any:
        params = context.get(_PARAMS, {})
        if model.name == READ:
            told = self.get_secret_value(params)
        elif model.name == BATCH:
            told = self.batch_get_secret_value(params) or self._batch_elsewhere(params)
        else:
            told = self._elsewhere(model.name, params, context)
        return None if told is None else (_no_http(), told)

    def _after_call(self, http_response: Any, parsed: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        if is_write(model.name) and http_response.status_code < 300:  # noqa: PLR2004
            params = context.get(_PARAMS, {})
            region = context.get(_REGION, self.regions.names[0])
            self._written(model.name, params, parsed, region)

    def _after_error(self, context: dict[str, Any], **_: Any) -> None:
        self._forget(context.get(_PARAMS, {}).get("SecretId"))

    # what is no cached read

    def _batch_elsewhere(self, params: Mapping[str, Any]) -> Any:
        try:
            return self.regions.batch(params)
        except ClientError as error:
            raised = self._own(error)
        raise raised

    def _elsewhere(self, operation: str, params: dict[str, Any], context: dict[str, Any]) -> Any:
        """The response of the region an operation belongs to; None: the client at hand is of that region."""
        region = context[_REGION] = home_of(operation, params, self.regions)
        there = dict(params)
        if "SecretId" in params:
            there["SecretId"] = in_region(params["SecretId"], region, self.regions)
        if region == self.regions.names[0] and there == params:
            return None
        client = self.regions.client(region)
        try:
            return getattr(client, _method(client, operation))(**there)
        except ClientError as error:
            raised = self._own(error)
        except Exception:
            self._forget(params.get("SecretId"))  # nobody knows whether it was carried out
            raise
        raise raised

    def _own(self, error: ClientError) -> Exception:
        """Another client's exception, as this client's users catch it."""
        response: Any = copy.deepcopy(error.response)
        made: Exception = self._exceptions.from_code(response["Error"]["Code"])(response, error.operation_name)
        return made

    # what a write tells

    def _written(self, operation: str, params: Mapping[str, Any], response: Mapping[str, Any], region: str) -> None:
        arn = response.get("ARN")
        rotates = operation == "RotateSecret"
        shown = shown_after(operation, params, response)
        if arn and changes_values(operation, shown):
            self._cache._written.note(arn, region, shown, awaited=rotates)  # noqa: SLF001
        for secret_id in (arn, params.get("SecretId"), response.get("Name")):
            self._forget(secret_id)
        if rotates and shown:
            ends = time.monotonic() + _ROTATION_SECONDS
            under_way = {name: one for name, one in self._rotating.copy().items() if not one.is_over("")}
            self._rotating = {**under_way, response.get("Name", ""): _Rotation(shown[CURRENT], ends)}

    def _forget(self, secret_id: str | None) -> None:
        if secret_id:
            with suppress(SecretCacheError):
                self._cache.invalidate(secret_id)

    def _after_rotation(self, secret: Secret, params: Mapping[str, Any]) -> Secret:
        """The secret; asked for again, once a second, while a rotation begun here has not brought its version."""
        rotation = self._rotating.get(secret.name)
        if rotation is None or params.get("VersionId") or params.get("VersionStage", CURRENT) != CURRENT:
            return secret
        if rotation.is_over(secret.version_id):
            self._rotating.pop(secret.name, None)
        elif rotation.may_ask():
            with suppress(SecretCacheError):
                return self._cache.refresh(params["SecretId"])
        return secret


class _Rotation:
    """A rotation that was begun: the service carries it out in its own time."""

    def __init__(self, version_id: str, ends: float) -> None:
        self._version_id = version_id
        self._ends = ends
        self._asked = 0.0

    def is_over(self, version_id: str) -> bool:
        """Whether its version is current, or it has not become so in time."""
        return version_id == self._version_id or time.monotonic() > self._ends

    def may_ask(self) -> bool:
        """Whether it is time to look again."""
        now = time.monotonic()
        due, self._asked = now >= self._asked + _ROTATION_PACE, max(self._asked, now)
        return due


def _no_http() -> AWSResponse:
    """What the handlers of `after-call` get for a response that came over no wire."""
    return AWSResponse("", 200, HTTPHeaders(), None)


def _not_understood(error: SecretCacheError) -> bool:
    """Whether the cache refused an id before anything was asked."""
    return isinstance(error, ConfigurationError) and error.__cause__ is None


def _is_of_the_secret(error: SecretCacheError) -> bool:
    """Whether the service said no to this secret, and not to the whole request."""
    return isinstance(error, (SecretAccessDeniedError, SecretNotFoundError))


def _method(client: Any, operation: str) -> str:
    methods: dict[str, str] = client.meta.method_to_api_mapping
    return next(method for method, name in methods.items() if name == operation)
