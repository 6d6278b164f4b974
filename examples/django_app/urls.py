"""The site's only page: Django code as ever."""

from __future__ import annotations

from django.core import signing
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path


def index(_: HttpRequest) -> JsonResponse:
    """Asks the database who it is talking to, and signs the answer."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user")
        (user,) = cursor.fetchone()
    return JsonResponse({"user": user, "signed": signing.dumps(user)})


urlpatterns = [path("", index)]
