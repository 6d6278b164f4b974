"""Other packages' public names, on a `SecretCache`: changing the import is the migration."""
