"""The application: this is what one writes.

The environment says which regions (SECRETCACHE_REGIONS) and, unless they are AWS's own, where they are; app.config may.
"""

from __future__ import annotations

from flask import Flask, current_app
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from secretcache.integrations.flask import Secrets

secrets = Secrets()
database = SQLAlchemy()


def create_app() -> Flask:
    """The application. Nothing is read from AWS before its first request."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg://"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"plugins": ["secretcache"], "secretcache": "prod/db"}
    secrets.init_app(app)
    secrets.follow("API_KEY", "prod/app", key="api_key")
    database.init_app(app)
    app.add_url_rule("/", view_func=index)
    return app


def index() -> dict[str, str | int]:
    """Asks the database who it is talking to."""
    user = database.session.execute(text("SELECT current_user")).scalar_one()
    return {"user": user, "length of the API key": len(current_app.config["API_KEY"])}
