"""A Flask application whose database connections and configuration follow rotation."""
