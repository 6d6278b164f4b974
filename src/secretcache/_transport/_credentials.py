"""Credentials as our requests are signed with them: renewed ahead of time, beside the requests. Imports botocore.

botocore renews credentials in the thread that signs, from 15 minutes before they expire, and lets every other thread
wait for that from 10 minutes on: an STS that is silent then fails reads for which the credentials are good.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
import time
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import CredentialRetrievalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["RENEWAL_PAUSE", "SURE_SECONDS", "Held", "named", "note_providers", "provider_name"]

SURE_SECONDS = 60.0
"""For so long credentials must be good to sign with them while others are fetched: clocks differ."""
RENEWAL_PAUSE = 10.0
"""Seconds between two attempts to renew ahead of time."""

_NAMES = {
    "assume-role": "AssumeRole",
    "assume-role-with-web-identity": "web identity",
    "container-role": "ECS or EKS container credentials",
    "iam-role": "IMDS, the instance's role",
    "sso": "SSO",
}


class Held:
    """What botocore's signer asks, in place of a session's credentials."""

    def __init__(self, credentials: Any) -> None:
        self.credentials = credentials
        self._lock = threading.Lock()
        self._renewing = False
        self._renew_at = float("-inf")
        self._loaded = False

    def good(self) -> bool:
        """Whether a request can be signed without waiting; never loads anything."""
        if type(self.credentials) is Credentials:
            return True
        return self._loaded and self._good_for(SURE_SECONDS)

    def load(self) -> None:
        """Gets or renews the credentials, if they are not good; raises what their provider does."""
        load = getattr(self.credentials, "get_frozen_credentials", None)
        self._loaded = False
        if load is not None and not self._good_for(SURE_SECONDS):
            load()
        self._loaded = True

    def get_frozen_credentials(self) -> Any:
        """The credentials to sign with."""
        if not isinstance(self.credentials, RefreshableCredentials) or not self._good_for(SURE_SECONDS):
            return self.credentials.get_frozen_credentials()
        # Held once: another thread may publish new ones at any moment, whole.
        held = getattr(self.credentials, "_frozen_credentials", None)
        if held is None:
            return self.credentials.get_frozen_credentials()
        if self.credentials.refresh_needed():
            self._renew_aside()
        return held

    def __getattr__(self, name: str) -> Any:
        return getattr(self.credentials, name)

    def _good_for(self, seconds: float) -> bool:
        # Of a kind that does not say until when it is good, nothing is known before it is asked.
        if not isinstance(self.credentials, RefreshableCredentials):
            return False
        if getattr(self.credentials, "_frozen_credentials", None) is None:  # deferred: not loaded yet
            return False
        try:
            return not self.credentials.refresh_needed(seconds)  # type: ignore[arg-type,unused-ignore]
        except Exception:  # noqa: BLE001 - loading them will tell
            return False

    def _renew_aside(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self._renewing or now < self._renew_at:
                return
            self._renewing, self._renew_at = True, now + RENEWAL_PAUSE
        try:
            threading.Thread(target=self._renew, name="secretcache-credentials", daemon=True).start()
        except RuntimeError:  # no more threads: a later request tries again
            self._renewing = False

    def _renew(self) -> None:
        # botocore logs what prevents it; once they are not good any more, a request waits, and tells.
        try:
            with contextlib.suppress(BaseException):
                self.credentials.get_frozen_credentials()
        finally:
            self._renewing = False


def provider_name(method: str, session: Any = None) -> str:
    """A credential provider as users know it; of a process, with the first word of its command."""
    if method != "custom-process":
        return _NAMES.get(method, method)
    command = ""
    with contextlib.suppress(Exception):  # what is wrong with the configuration, loading will tell
        command = str(session.get_scoped_config().get("credential_process", ""))
    words: list[str] = []
    with contextlib.suppress(ValueError):
        words = shlex.split(command)
    return f"credential_process {PurePath(words[0]).name}" if words else "credential_process"


@contextlib.contextmanager
def named(provider: str) -> Iterator[None]:
    """Errors that do not say that it is the credentials that failed, and whose, come out as one that does.

    An answer that is no JSON (neither message quotes it), and one that has expired already.
    """
    try:
        yield
    except (json.JSONDecodeError, RuntimeError) as error:
        what = f"its answer is not JSON: {error}" if isinstance(error, ValueError) else str(error)
        retrieval = CredentialRetrievalError(provider=provider, error_msg=what)
    else:
        return
    raise retrieval


def note_providers(session: Any, note: Callable[[str], object], done: Callable[[float], object] = float) -> None:
    """Calls `note` with the name of each provider that a session of ours turns to, before it does.

    `done` is called with the seconds that it took.
    """
    for provider in session.get_component("credential_provider").providers:
        provider.load = partial(_noted, provider, session, note, done, provider.load)


def _noted(
    provider: Any, session: Any, note: Callable[[str], object], done: Callable[[float], object], load: Callable[[], Any]
) -> Any:
    name = provider_name(provider.METHOD, session)
    note(name)
    began = time.monotonic()
    try:
        with named(name):
            return load()
    finally:
        done(time.monotonic() - began)
