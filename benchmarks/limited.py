"""A Secrets Manager that lets a burst and then so many requests a second through, and throttles the rest."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from parts import answer

__all__ = ["Limited"]


class Limited:
    """One region's. `batches`: whether BatchGetSecretValue is allowed."""

    def __init__(self, region: str, burst: int, rate: float, *, batches: bool) -> None:
        self.calls = 0
        self._region = region
        self._burst, self._rate, self._batches = burst, rate, batches
        self._tokens, self._at = float(burst), time.monotonic()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def reply(self, operation: str, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not self._allowed():
            return 400, {"__type": "ThrottlingException", "message": "Rate exceeded"}
        if operation != "BatchGetSecretValue":
            return 200, self._value(asked["SecretId"])
        if not self._batches:
            return 400, {"__type": "AccessDeniedException", "message": "not authorized"}
        return 200, {"SecretValues": [self._value(one) for one in asked["SecretIdList"]], "Errors": []}

    def _value(self, secret_id: str) -> dict[str, Any]:
        return {**answer(self._region, secret_id), "CreatedDate": 1_700_000_000}

    def _allowed(self) -> bool:
        with self._lock:
            self.calls += 1
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class _Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True


def _handler(limited: Limited) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, told = limited.reply(self.headers["X-Amz-Target"].rpartition(".")[2], asked)
            body = json.dumps(told, default=str).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    return Handler
