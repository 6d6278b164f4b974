"""Frameworks and drivers whose connections survive rotation, each on `SecretCache.connect`. None is imported here."""
