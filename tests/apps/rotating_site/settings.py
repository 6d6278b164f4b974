from __future__ import annotations

import json
import os

from secretcache.integrations.django.settings import secret_keys

DATABASES = json.loads(os.environ["SITE_DATABASES"])
SECRET_KEY, SECRET_KEY_FALLBACKS = secret_keys("prod/django")
INSTALLED_APPS = ["rotating_site"]
ROOT_URLCONF = "rotating_site.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
