"""A small server for the examples that are WSGI applications. Yours runs under gunicorn or the like."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from urllib.request import ProxyHandler, build_opener
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Not a line for each request."""


@contextmanager
def serving(application: Any) -> Iterator[str]:
    """The application, each request in a thread of this process; gives its URL."""
    with make_server("127.0.0.1", 0, application, server_class=_Server, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def visitor(url: str) -> Callable[[], None]:
    """Asks for a page; an answer that is no 200 is an error."""
    browser = build_opener(ProxyHandler({}))

    def ask() -> None:
        with browser.open(url, timeout=60) as answer:
            answer.read()

    return ask
