"""The application: this is what one writes.

The environment says which regions (SECRETCACHE_REGIONS) and, unless they are AWS's own, where they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import psycopg
from fastapi import Depends, FastAPI, Request
from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from secretcache import default_cache
from secretcache.integrations.psycopg_pool import AsyncConnectionPool
from secretcache.integrations.pydantic_settings import SecretsSource


class Settings(BaseSettings):
    """What the application is told. The API key comes from the secret prod/app."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)
    greeting: str = "hello"
    api_key: SecretStr

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the secret."""
        return init_settings, env_settings, SecretsSource(settings_cls, "prod/app")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A pool for as long as the application runs."""
    cache = default_cache()
    await cache.aprefetch(["prod/db", "prod/app"])  # so that no request waits for Secrets Manager
    async with AsyncConnectionPool("prod/db", min_size=2, max_size=4, open=False) as pool:
        app.state.pool = pool
        yield
    cache.close()


def current_settings() -> Settings:
    """The settings of this moment. A plain function: should it have to wait, FastAPI's event loop does not."""
    return Settings()  # type: ignore[call-arg] # from its sources


async def connection(request: Request) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A connection for one request, whatever password is the right one now."""
    async with request.app.state.pool.connection() as taken:
        yield taken


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def index(
    database: Annotated[psycopg.AsyncConnection[Any], Depends(connection)],
    settings: Annotated[Settings, Depends(current_settings)],
) -> dict[str, str]:
    """Asks the database who it is talking to."""
    row = await (await database.execute("SELECT current_user")).fetchone()
    assert row is not None
    return {"greeting": settings.greeting, "user": row[0]}
