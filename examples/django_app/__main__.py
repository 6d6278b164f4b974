"""Runs the site on embedded services, and visits it all the time while the passwords rotate."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from urllib.request import ProxyHandler, build_opener

from django.core import signing
from django.core.wsgi import get_wsgi_application
from django.db import connections

from examples.embedded import Services, arguments, rotate_under
from examples.serving import serving
from secretcache import default_cache

APART = 4.0
"""Seconds at least between two rotations of SECRET_KEY. A process signs with the key before for up to two `ttl` (of 1 s
here) after a rotation, and the rotation after that ends what was signed so."""


class WithKey(Services):
    """SECRET_KEY rotates with the database's password, unless it has just done so."""

    def __init__(self) -> None:
        super().__init__()
        self._key_rotated_at = float("-inf")

    def rotate(self) -> None:
        """A rotation of both."""
        now = time.monotonic()
        if now >= self._key_rotated_at + APART:
            self._key_rotated_at = now
            self.secrets.rotate("prod/django", json.dumps({"secret_key": secrets.token_urlsafe(50)}))
        super().rotate()


def main() -> int:
    """Starts everything; ends it after the rotations that were asked for, or at Ctrl-C."""
    options = arguments(__doc__ or "")
    os.environ["DJANGO_SETTINGS_MODULE"] = "examples.django_app.settings"
    browser = build_opener(ProxyHandler({}))

    def ask() -> None:
        with browser.open(url, timeout=60) as answer:
            told = json.load(answer)
        assert signing.loads(told["signed"]) == told["user"]

    with WithKey() as services:
        services.secrets.create("prod/django", json.dumps({"secret_key": secrets.token_urlsafe(50)}))
        with serving(get_wsgi_application()) as url:
            print(f"{url} - the passwords rotate every {options.every:g} s", flush=True)
            code = rotate_under(services, ask, options)
        connections["default"].close_pool()  # type: ignore[attr-defined]
        default_cache().close()
    return code


if __name__ == "__main__":
    sys.exit(main())
