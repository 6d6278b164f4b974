"""Django's databases and settings from secrets: 5.2 and 6.x, `pip install "secretcache[django]"`.

    DATABASES = {
        "default": {
            "ENGINE": "secretcache.integrations.django.postgresql",  # or ...django.mysql
            "SECRET": "prod/db",  # name or ARN
            "NAME": "app",
        }
    }

The secret is AWS's database secret: `host`, `port`, `username`, `password` and `dbname`. `HOST`, `PORT` and `NAME` win
where they are set; `USER` is for a secret that names none. A secret that RDS manages has no host, so `HOST` is needed
there. Nothing is read before the first connection: `manage.py check` needs no AWS. (Under Django 6 MySQL is connected
to for it, as it is with Django's own backend.)

| key | meaning |
| --- | --- |
| `SECRET` | the secret's name or ARN |
| `SECRET_CACHE` | dotted path of the cache or of a function that makes it; else the process's `default_cache()` |
| `SECRET_HOSTS` | host by region, for an application that should use the database nearest to it |
| `SECRET_BRIDGE` | more arguments of `SecretCache.connect`: `timeout`, `max_refusals`, `retry_refused_after` |

Connections made with an older version are replaced softly: a persistent one (`CONN_MAX_AGE`) between two requests, a
pooled one (`OPTIONS["pool"]`) when it is taken or returned. One in use is never closed.

For other settings see `secretcache.integrations.django.settings`.
"""
