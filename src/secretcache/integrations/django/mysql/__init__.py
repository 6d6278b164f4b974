"""Django's MySQL and MariaDB backend, with a login from a secret."""
