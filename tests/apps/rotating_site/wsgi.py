"""Loaded before gunicorn forks (`--preload`): the cache is warm by then, and at work."""

from django.core.wsgi import get_wsgi_application
from django.db import connections

from secretcache import default_cache

application = get_wsgi_application()
# On a busy machine the first client may take its time: whoever is not ready now is read when it is needed.
default_cache().prefetch([settings["SECRET"] for settings in connections.settings.values()], timeout=10.0)
