"""A Celery worker with processes (prefork), each with connections of its own that follow rotation."""
