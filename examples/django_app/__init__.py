"""A Django site whose database connections and SECRET_KEY follow rotation."""
