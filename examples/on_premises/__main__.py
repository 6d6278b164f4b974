"""Runs the service on embedded services while the password rotates and, every second time, Osaka is down."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

from examples.embedded import OSAKA, Services, arguments, rotate_under
from examples.on_premises.service import Service, new_cache
from secretcache._demo.faults import Refuse


class Troubled(Services):
    """Osaka refuses connections during every second rotation."""

    def rotate(self) -> None:
        """A rotation, and perhaps an outage."""
        osaka = self.secrets.proxies[OSAKA]
        osaka.set_fault(None if self.rotations % 2 else Refuse())
        print(f"Osaka is {'up' if osaka.fault is None else 'down'}", flush=True)
        super().rotate()


def main() -> int:
    """Starts everything; ends it after the rotations that were asked for, or at Ctrl-C."""
    options = arguments(__doc__ or "")
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stdout)
    with Troubled() as services, tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "credentials"
        keys.touch(0o600)
        keys.write_text("[service]\naws_access_key_id = testing\naws_secret_access_key = testing\n")
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(keys)
        with new_cache(services.secrets.endpoint_urls, ttl=1.0) as cache:
            service = Service(cache)
            service.start_up()
            return rotate_under(services, service.job, options)


if __name__ == "__main__":
    sys.exit(main())
