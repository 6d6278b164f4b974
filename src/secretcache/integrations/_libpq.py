"""What libpq is told of a place without a host: `hostaddr`, or a service that has one."""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["names_a_place"]

_SYSTEM = ("/etc/postgresql-common", "/etc")
"""Where libpq's makers keep the services of a machine, unless PGSYSCONFDIR says so."""


def names_a_place(options: Mapping[str, Any]) -> bool:
    """Whether libpq's options name a place, without its guess: the socket of this machine."""
    if options.get("host") or options.get("hostaddr"):
        return True
    return bool(options.get("service")) and _service_names_a_place(str(options["service"]))


def _service_names_a_place(service: str) -> bool:
    """True as well for a service that is not found here: libpq refuses one that it does not find either."""
    for path in _files():
        told = configparser.RawConfigParser(allow_no_value=True, strict=False, delimiters=("=",))
        try:
            told.read(path)
        except configparser.Error:
            continue
        if told.has_section(service):
            # A line that asks LDAP has no name: what it answers is not known here.
            names = told[service].keys()
            return any(name in ("host", "hostaddr") or name.startswith("ldap") for name in names)
    return True


def _files() -> list[Path]:
    own = os.environ.get("PGSERVICEFILE") or "~/.pg_service.conf"
    folders = (os.environ["PGSYSCONFDIR"],) if os.environ.get("PGSYSCONFDIR") else _SYSTEM
    return [Path(own).expanduser(), *(Path(folder) / "pg_service.conf" for folder in folders)]
