"""The program: this is what one writes.

The environment says which regions (SECRETCACHE_REGIONS) and, unless they are AWS's own, where they are.
"""

from __future__ import annotations

from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    """The tables."""


class Order(Base):
    """What somebody has ordered."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str]


def new_engine() -> Engine:
    """An engine that takes host, database, user and password from the secret, as they are at each login."""
    return create_engine("postgresql+psycopg://", plugins=["secretcache"], secretcache="prod/db", pool_size=2)


def order(engine: Engine, what: str) -> int:
    """Stores an order, and returns how many there are of its kind."""
    with Session(engine) as session, session.begin():
        session.add(Order(what=what))
        session.flush()
        return len(session.scalars(select(Order.id).where(Order.what == what).limit(100)).all())
