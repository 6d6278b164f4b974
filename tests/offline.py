"""Sessions that heed no environment, and whose clients nobody lets get as far as the network."""

from __future__ import annotations

from typing import Any

from secretcache._demo.embedded import _isolated_session


def offline(region: str) -> Any:
    session = _isolated_session()
    session.set_credentials("testing", "testing")
    session.set_config_variable("region", region)
    return session
