"""A boto client that the fake answers. It is botocore's own: only the sending is ours. Imports botocore."""

from __future__ import annotations

import base64
import io
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse, HTTPHeaders
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from botocore.session import Session

from secretcache._transport._botocore import making

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secretcache.testing._network import Network

__all__ = ["FakeSession"]

_TYPE = "application/x-amz-json-1.1"


class FakeSession:
    """What stands in for a boto3 or botocore session: makes clients of Secrets Manager, and of nothing else."""

    def __init__(self, network: Network, region: str) -> None:
        self._network = network
        self.region_name = region

    def client(self, service_name: str, region_name: str | None = None, **options: Any) -> Any:
        """A client, as boto3's session makes it. Without a region: the session's own.

        Raises:
            NotImplementedError: it is another service's.
        """
        if service_name != "secretsmanager":
            raise NotImplementedError(f"service_name: secretcache.testing has secretsmanager only, not {service_name}")
        given = options.get("config") or Config()
        with making.one():  # a fork waits for it
            session = Session()
            session.set_config_variable("region", region_name or self.region_name)
            client: Any = session.create_client(
                service_name,
                region_name=region_name or self.region_name,
                aws_access_key_id="testing",
                aws_secret_access_key="testing",  # noqa: S106 - what signs requests that are never sent
                config=given.merge(Config(retries={"total_max_attempts": 1})),
            )
        client.meta.events.register("before-send.secrets-manager", _Answers(self._network, client))
        return client

    create_client = client

    def get_credentials(self) -> Credentials:
        """Credentials that nobody checks."""
        return Credentials("testing", "testing")


class _Answers:
    """Answers a client's requests in the network's place."""

    def __init__(self, network: Network, client: Any) -> None:
        self._network = network
        self._region = client.meta.region_name
        config = client.meta.config
        self._timeouts = (float(config.connect_timeout), float(config.read_timeout))

    def __call__(self, request: Any, **_: Any) -> AWSResponse:
        operation = request.headers["X-Amz-Target"]
        operation = (operation if isinstance(operation, str) else operation.decode()).partition(".")[2]
        params = json.loads(request.body)
        if "SecretBinary" in params:
            params["SecretBinary"] = base64.b64decode(params["SecretBinary"])
        try:
            told = self._network.ask(self._region, operation, params, self._timeouts)
        except ClientError as error:
            said: Any = error.response
            code = {"__type": said["Error"]["Code"], "message": said["Error"]["Message"]}
            return _response(request.url, said["ResponseMetadata"]["HTTPStatusCode"], json.dumps(code))
        return _response(request.url, 200, "" if told is None else json.dumps(told, default=_as_json))


class _Body(io.BytesIO):
    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _response(url: str, status: int, body: str) -> AWSResponse:
    raw: Any = _Body(body.encode())
    headers = HTTPHeaders()
    headers["content-type"] = _TYPE
    return AWSResponse(url, status, headers, raw)


def _as_json(value: object) -> object:
    if isinstance(value, datetime):
        return value.timestamp()
    assert isinstance(value, bytes)  # noqa: S101 - nothing else is in a response
    return base64.b64encode(value).decode()
