"""What lies between this process and a region: names and addresses, proxies, clocks."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from secretcache._cli.config import without_password

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["kind_of", "no_proxy", "proxy_for", "resolve", "skew", "wall_clock"]


def wall_clock() -> float:
    """This machine's idea of the time."""
    return time.time()


def resolve(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host, in the resolver's order.

    Raises:
        OSError: it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def kind_of(addresses: Iterable[str]) -> str:
    """Whether addresses are private, public, mixed, or of this machine."""
    kinds = {_kind(ipaddress.ip_address(address.partition("%")[0])) for address in addresses}
    if len(kinds) > 1:
        return "mixed"
    return kinds.pop() if kinds else "unknown"


def _kind(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.is_loopback:
        return "this machine"
    return "private" if address.is_private else "public"


def proxy_for(url: str, configured: Mapping[str, str] | None) -> str | None:
    """The proxy that botocore takes to a URL, without a password. Imports botocore."""
    from botocore.utils import get_environ_proxies  # noqa: PLC0415

    proxies: Mapping[str, str] = configured if configured is not None else get_environ_proxies(url)
    proxy = proxies.get(urlsplit(url).scheme)
    return without_password(proxy) if proxy else None


def no_proxy() -> str | None:
    """NO_PROXY as it is in force."""
    return os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or None


def skew(headers: Mapping[str, Any], now: float) -> float | None:
    """By how many seconds the clock of whoever answered is ahead; None if the answer does not tell."""
    try:
        told = parsedate_to_datetime(str(headers.get("date", ""))).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return told - now
