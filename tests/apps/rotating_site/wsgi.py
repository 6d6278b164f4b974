"""Loaded before gunicorn forks (`--preload`): the cache is warm by then, and at work."""

from django.core.wsgi import get_wsgi_application
from django.db import connections

from secretcache import default_cache

application = get_wsgi_application()
for settings in connections.settings.values():
    default_cache().get(settings["SECRET"])
