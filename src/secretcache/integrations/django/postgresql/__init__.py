"""Django's PostgreSQL backend, with a login from a secret."""
