"""A program that uses SQLAlchemy, whose connections follow rotation."""
