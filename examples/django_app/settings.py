"""The site's settings: this is what one writes. Nothing is read from AWS when they are imported.

The environment says which regions (SECRETCACHE_REGIONS) and, unless they are AWS's own, where they are.
"""

from __future__ import annotations

from secretcache.integrations.django.settings import secret_keys

SECRET_KEY, SECRET_KEY_FALLBACKS = secret_keys("prod/django", "secret_key")
DATABASES = {
    "default": {
        "ENGINE": "secretcache.integrations.django.postgresql",
        "SECRET": "prod/db",
        "OPTIONS": {"pool": {"min_size": 2, "max_size": 4}},
    }
}
ROOT_URLCONF = "examples.django_app.urls"
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
