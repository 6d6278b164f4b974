"""A service outside of AWS, with long-lived keys, that reads Osaka first and has Tokyo behind it."""
