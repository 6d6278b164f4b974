"""Runs the application on embedded services, and asks it all the time while the password rotates."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import ProxyHandler, build_opener

import uvicorn

from examples.embedded import Services, arguments, rotate_under
from examples.fastapi_app.app import app
from secretcache._demo.private import free_port


@contextmanager
def serving(port: int) -> Iterator[None]:
    """The application, in a thread of this process."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(60)


def main() -> int:
    """Starts everything; ends it after the rotations that were asked for, or at Ctrl-C."""
    options = arguments(__doc__ or "")
    browser, port = build_opener(ProxyHandler({})), free_port()

    def ask() -> None:
        with browser.open(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            answer.read()

    with Services() as services, serving(port):
        print(f"http://127.0.0.1:{port}/ - the password rotates every {options.every:g} s", flush=True)
        return rotate_under(services, ask, options)


if __name__ == "__main__":
    sys.exit(main())
