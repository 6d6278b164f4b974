"""Runs the program on embedded services, all the time, while the password rotates."""

from __future__ import annotations

import sys

from examples.embedded import USER, Services, arguments, rotate_under
from examples.sqlalchemy_app.orders import Base, new_engine, order
from secretcache import default_cache


def main() -> int:
    """Starts everything; ends it after the rotations that were asked for, or at Ctrl-C."""
    options = arguments(__doc__ or "")
    with Services() as services:
        with services.database.admin() as admin:
            admin.execute(f"GRANT CREATE ON SCHEMA public TO {USER}")
        engine = new_engine()
        Base.metadata.create_all(engine)
        print(f"orders come in, and the password rotates every {options.every:g} s", flush=True)
        code = rotate_under(services, lambda: order(engine, "tea"), options)
        engine.dispose()
        default_cache().close()
    return code


if __name__ == "__main__":
    sys.exit(main())
