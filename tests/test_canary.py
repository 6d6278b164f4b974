"""No byte of a secret where it does not belong: planted values that must not appear."""

from __future__ import annotations

import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from uuid import uuid4

import pytest

from secretcache import SecretCache, SecretCacheError
from secretcache._demo.embedded import EmbeddedSecretsManager
from secretcache._demo.faults import Respond
from support import OSAKA, TOKYO

pytestmark = pytest.mark.usefixtures("steady_regions")

CANARY = "canary-0815-parrot"
MakeCache = Callable[..., SecretCache]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything logged while the root logger is at DEBUG."""
    written = io.StringIO()
    handler, root = logging.StreamHandler(written), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.setLevel(before)
    root.removeHandler(handler)


def shown(error: BaseException) -> str:
    """All that a crash reporter could show: texts, attributes and our frames' locals, along the whole chain."""
    told = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    while True:
        told += repr(error) + str(error) + repr(vars(error)) + _locals(error.__traceback__)
        following = error.__cause__ or error.__context__
        if following is None:
            return told
        error = following


def error_of(misuse: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:
        misuse()
    return caught.value


def _locals(trace: TracebackType | None) -> str:
    frames = [] if trace is None else [frame for frame, _ in traceback.walk_tb(trace)]
    return "".join(
        f"{name}={value!r}"
        for frame in frames
        if "/tests/" not in frame.f_code.co_filename
        for name, value in frame.f_locals.items()
    )


def test_a_read_logs_no_body(manager: EmbeddedSecretsManager, make_cache: MakeCache, log: io.StringIO) -> None:
    name = f"canary/{uuid4().hex}"
    manager.create(name, f'{{"password": "{CANARY}"}}')
    log.truncate(0)
    secret = make_cache().get(name)
    assert secret["password"] == CANARY
    assert "GetSecretValue" in log.getvalue(), "botocore logs at DEBUG as ever, without our bodies"
    assert CANARY not in log.getvalue()


def test_the_applications_own_calls_log_as_before(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, log: io.StringIO
) -> None:
    name = f"canary/{uuid4().hex}"
    manager.create(name, CANARY)
    make_cache().get(name)
    log.truncate(0)
    manager.admin().get_secret_value(SecretId=name)
    assert CANARY in log.getvalue()


WHOLE = {"ARN": "{arn}", "Name": "{name}", "VersionId": "0" * 32, "SecretString": CANARY}
REJECTED = {
    "two kinds": json.dumps({**WHOLE, "SecretBinary": "eA=="}),
    "another secret": json.dumps({**WHOLE, "Name": "other"}),
    "another stage": json.dumps({**WHOLE, "VersionStages": ["X"]}),
    "cut off": json.dumps(WHOLE)[:-1],
    "not JSON": CANARY,
    "an error that quotes it": json.dumps({"SecretString": CANARY}),
}


@pytest.mark.parametrize("body", REJECTED.values(), ids=REJECTED)
def test_a_rejected_answer_is_not_quoted(
    manager: EmbeddedSecretsManager, make_cache: MakeCache, log: io.StringIO, body: str
) -> None:
    name = f"canary/{uuid4().hex}"
    arn = manager.create(name, "x").replace(TOKYO, OSAKA)
    told = body.replace("{arn}", arn).replace("{name}", name).encode()
    status = 400 if body is REJECTED["an error that quotes it"] else 200
    for proxy in manager.proxies.values():
        proxy.set_fault(Respond(status, told))
    with pytest.raises(SecretCacheError) as caught:
        make_cache().get(name)
    assert "secretsmanager" in shown(caught.value) or "127.0.0.1" in shown(caught.value)
    assert CANARY not in shown(caught.value)
    assert CANARY not in log.getvalue()


@pytest.mark.parametrize(
    "value", [CANARY, f'["{CANARY}"]', f'"{CANARY}"', f'{{"a": "{CANARY}"', f'{{"a": "{CANARY}"}}']
)
def test_no_error_of_a_secret_shows_it(manager: EmbeddedSecretsManager, make_cache: MakeCache, value: str) -> None:
    name = f"canary/{uuid4().hex}"
    manager.create(name, value)
    secret = make_cache().get(name)
    misuses: list[Callable[[], object]] = [
        lambda: secret["no such key"],
        lambda: secret.binary,
        lambda: secret.json()["no such key"],
        lambda: pickle.dumps(secret),
        lambda: setattr(secret, "name", "x"),
        lambda: list(secret),  # type: ignore[call-overload]
    ]
    raised = [error_of(misuse) for misuse in misuses]
    assert not [error for error in raised if CANARY in shown(error)]


def test_no_rendering_of_the_caches_parts_shows_it(manager: EmbeddedSecretsManager, make_cache: MakeCache) -> None:
    name = f"canary/{uuid4().hex}"
    manager.create(name, CANARY)
    cache = make_cache()
    secret = cache.get(name)
    engine = cache._engine
    parts = [
        cache,
        secret,
        cache.stats(),
        engine,
        engine.store,
        engine.store.hot,
        engine.store._records,
        engine._transport,
    ]
    told = " ".join(f"{part!r} {part!s} {part}" for part in parts)
    with suppress(TypeError):
        told += pickle.dumps(secret).decode("latin-1")
    assert name in told
    assert CANARY not in told
