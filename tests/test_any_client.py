"""docs/any-client.md: its SMTP example is run as it stands there, against a server whose password rotates."""

from __future__ import annotations

import base64
import re
import smtplib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from driver_rotation import rotate_under
from local_aws import Authority
from rotation_load import Load, Rotating

PAGE = Path(__file__).parent.parent / "docs" / "any-client.md"


class MailServer(socketserver.ThreadingTCPServer):
    """As much of SMTP as a login takes: EHLO, STARTTLS, AUTH PLAIN, NOOP, QUIT."""

    daemon_threads, block_on_close = True, False

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.context = context
        self.passwords: dict[str, str] = {}
        self.refused = 0
        self.out_of_order = False

    def judge(self, initial: str) -> tuple[int, str]:
        _, user, password = base64.b64decode(initial).decode().split("\0")
        if self.out_of_order:
            return 454, "Temporary authentication failure"
        if self.passwords.get(user) == password:
            return 235, "Authentication succeeded"
        self.refused += 1
        return 535, "Authentication credentials invalid"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nothing to speak of."""


class _Session(socketserver.BaseRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self.request.sendall(b"220 mail.example\r\n")
        if self._converse(self.request, secure=False) == "STARTTLS":
            self.request.sendall(b"220 go ahead\r\n")
            with self.server.context.wrap_socket(self.request, server_side=True) as connection:
                self._converse(connection, secure=True)

    def _converse(self, connection: Any, *, secure: bool) -> str:
        """Answers until something else is to follow, and says what."""
        while words := self._line(connection).split():
            command = words[0].upper()
            if command == "STARTTLS":
                return command
            connection.sendall(self._answer(command, words, secure=secure))
            if command == "QUIT":
                break
        return ""

    def _answer(self, command: str, words: list[str], *, secure: bool) -> bytes:
        if command == "EHLO":
            return b"250-mail.example\r\n250 " + (b"AUTH PLAIN" if secure else b"STARTTLS") + b"\r\n"
        if command == "AUTH" and secure:
            code, text = self.server.judge(words[2])
            return f"{code} {text}\r\n".encode()
        return b"221 bye\r\n" if command == "QUIT" else b"250 ok\r\n"

    def _line(self, connection: Any) -> str:
        line = b""
        while not line.endswith(b"\r\n"):
            part = connection.recv(1)
            if not part:
                return ""
            line += part
        return line.decode()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    with MailServer(authority.server("127.0.0.1")) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def account(server: MailServer) -> Iterator[Rotating]:
    set_password = server.passwords.__setitem__
    with Rotating(set_password, set_password, host="127.0.0.1", port=server.server_address[1]) as account:
        yield account


@pytest.fixture
def page(account: Rotating) -> Any:
    """The page's example, for the secret of this test."""
    code = next(
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "smtplib" in block
    )
    names: dict[str, Any] = {}
    exec(code.replace("prod/smtp", account.secret_id), names)  # noqa: S102 - our own page
    return SimpleNamespace(**names)


def test_the_pages_login_outlives_rotations(server: MailServer, account: Rotating, page: Any) -> None:
    def use() -> None:
        with page.mail_server(account.cache) as mail:
            assert mail.noop() == (250, b"ok")

    def alone() -> None:
        page.log_in(account.cache.get(account.secret_id)).quit()

    with page.mail_server(account.cache) as held:
        rotate_under(account, Load(use, workers=2), Load(alone, workers=1), smtplib.SMTPAuthenticationError)
        assert held.noop() == (250, b"ok")


def test_what_is_no_refusal_passes_through(server: MailServer, account: Rotating, page: Any) -> None:
    server.out_of_order = True
    with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
        page.mail_server(account.cache)
    assert caught.value.smtp_code == 454
    assert len(account.regions.calls) == 1, "no other version was asked for"
