"""A FastAPI application whose database connections and settings follow rotation."""
