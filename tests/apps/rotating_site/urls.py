"""`/sync/<alias>` and `/async/<alias>` ask a database, `/stock` does with Django's own backend beside them."""

from __future__ import annotations

import os
from typing import Any

from django.db import connections
from django.db.utils import ConnectionHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path

from rotating_site.models import Visit
from secretcache import default_cache


def sync_view(request: HttpRequest, alias: str) -> JsonResponse:
    return answer(Visit.objects.using(alias).count())


async def async_view(request: HttpRequest, alias: str) -> JsonResponse:
    return answer(await Visit.objects.using(alias).acount())


def stock_view(request: HttpRequest) -> JsonResponse:
    """The best that can be done without: the password is read anew for each connection."""
    ours: dict[str, Any] = connections.settings["default"]
    secret = default_cache().get(ours["SECRET"])
    told = {"USER": secret["username"], "PASSWORD": secret["password"], "HOST": secret["host"], "PORT": secret["port"]}
    stock = {"ENGINE": "django.db.backends.postgresql", "NAME": ours["NAME"], **told}
    with ConnectionHandler({"default": stock})["default"].temporary_connection() as cursor:
        cursor.execute("SELECT 1")
    return answer(0)


def answer(visits: int) -> JsonResponse:
    """Who answers, and which version of each secret it has."""
    secrets = {settings["SECRET"] for settings in connections.settings.values()}
    versions = sorted(default_cache().get(secret).version_id for secret in secrets)
    return JsonResponse({"pid": os.getpid(), "versions": versions, "visits": visits})


urlpatterns = [path("sync/<alias>", sync_view), path("async/<alias>", async_view), path("stock", stock_view)]
