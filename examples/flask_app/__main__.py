"""Runs the application on embedded services, and visits it all the time while the password rotates."""

from __future__ import annotations

import sys

from examples.embedded import Services, arguments, rotate_under
from examples.flask_app.app import create_app, database
from examples.serving import serving, visitor
from secretcache import default_cache


def main() -> int:
    """Starts everything; ends it after the rotations that were asked for, or at Ctrl-C."""
    options = arguments(__doc__ or "")
    with Services() as services:
        app = create_app()
        with serving(app) as url:
            print(f"{url} - the password rotates every {options.every:g} s", flush=True)
            code = rotate_under(services, visitor(url), options)
        with app.app_context():
            database.engine.dispose()
        default_cache().close()
    return code


if __name__ == "__main__":
    sys.exit(main())
