"""A Django site for the tests: whatever databases it is told of, and a table."""
