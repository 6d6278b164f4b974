"""What to say of a failure on the way to the service, where botocore's words leave out what helps: proxies, CA bundles.

Never a proxy's password.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from secretcache._transport import Fault

if TYPE_CHECKING:
    from botocore.exceptions import ProxyConnectionError

    from secretcache._transport import Failure

__all__ = ["about_certificates", "about_proxy", "without_code"]

_DEEPEST = 5  # botocore's error, urllib3's two, the machine's
_STATUS = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")
_PROXY_CREDENTIALS = 407
_CA_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NO_BUNDLE = re.compile(r"No such file|Permission denied|\[X509|PEM|NO_CERT|ASN1|not enough data|BAD_BASE64")


def about_proxy(error: ProxyConnectionError) -> str:
    """What a proxy said, or that it said nothing, and what to do."""
    url: Any = getattr(error, "kwargs", {}).get("proxy_url")
    parts = urlsplit(str(url or ""))
    proxy = f"the proxy {parts.hostname}{f':{parts.port}' if parts.port else ''}"
    chain = _chain(error)
    status = next((found[1] for one in chain if (found := _STATUS.search(str(one)))), "")
    if status == str(_PROXY_CREDENTIALS):
        return f"{proxy} answered 407: give it a user name and a password in HTTPS_PROXY, or other ones"
    if status:
        return f"{proxy} answered {status}: have it let this host through, or name the host in NO_PROXY"
    last = chain[-1]
    why = (last.strerror if isinstance(last, OSError) else None) or type(last).__name__
    return f"{proxy} could not be reached ({why}): check HTTPS_PROXY and HTTP_PROXY, or name this host in NO_PROXY"


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while len(chain) < _DEEPEST:
        one: Any = chain[-1]
        inner = getattr(one, "kwargs", {}).get("error") or getattr(one, "original_error", None) or one.__cause__
        inner = inner or one.__context__
        if not isinstance(inner, BaseException):
            break
        chain.append(inner)
    return chain


def without_code(status: str) -> str:
    """Of an HTTP answer that has no error code of AWS's."""
    if status == str(_PROXY_CREDENTIALS):
        return "a proxy answered that it wants a user name and a password: give it both in HTTP_PROXY and HTTPS_PROXY"
    return "an answer without an AWS error code: a proxy, a load balancer or an emulator spoke, not the service"


def about_certificates(failure: Failure, bundle: object) -> Failure:
    """A TLS failure, with the CA bundle that was used and where its name came from.

    Args:
        failure: as it was classified.
        bundle: the client's `verify`: a path, or whether botocore's own list is used.
    """
    if failure.code != "SSLError":
        return failure
    if not isinstance(bundle, (str, os.PathLike)):
        if "CERTIFICATE_VERIFY_FAILED" not in failure.message:
            return failure
        hint = "no CA bundle is configured: name the one of your proxy or emulator in AWS_CA_BUNDLE, if there is one"
        return failure._replace(message=f"{failure.message}; {hint}")
    path = os.fspath(bundle)
    source = next((name for name in _CA_VARIABLES if os.environ.get(name) == path), "ca_bundle in the configuration")
    if not Path(path).exists():
        message = f"the CA bundle {path}, from {source}, does not exist: correct that, or remove it"
        return failure._replace(fault=Fault.CALLER, message=message)
    if _NO_BUNDLE.search(failure.message):
        message = f"the CA bundle {path}, from {source}, holds no certificates that can be read: {failure.message}"
        return failure._replace(fault=Fault.CALLER, message=message)
    return failure._replace(message=f"{failure.message}; certificates are checked by {path}, from {source}")
