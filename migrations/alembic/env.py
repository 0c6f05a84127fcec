"""Alembic's environment: the models' metadata, a connection of the owner, and short waits for locks."""

from alembic import context
from geoalchemy2 import alembic_helpers
from sqlalchemy import create_engine, text

from backend.models import Base

LOCK_TIMEOUT_MS = 4000


def belongs_to_us(obj: object, name: str | None, type_: str, reflected: bool, compare_to: object) -> bool:
    """Leave out PostGIS's own tables and partitions, which are made by age and not by hand."""
    table = getattr(obj, "table", obj)
    if reflected and str(getattr(table, "name", name)).rsplit("_", 1)[-1] in _partition_marks(
        str(getattr(table, "name", name))
    ):
        return False
    return bool(alembic_helpers.include_object(obj, name, type_, reflected, compare_to))


def _partition_marks(name: str) -> set[str]:
    tail = name.rsplit("_", 1)[-1]
    return {tail} if tail == "default" or (tail.isdigit() and len(tail) in (6, 8)) else set()


def run() -> None:
    """Run the migrations over the connection given in the configuration, in one transaction."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _run_over(connection)
        return
    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        raise RuntimeError("Give the owner's database URL as sqlalchemy.url.")
    engine = create_engine(url)
    with engine.begin() as own:
        _run_over(own)
    engine.dispose()


def _run_over(connection: object) -> None:
    connection.execute(text(f"set local lock_timeout = {LOCK_TIMEOUT_MS}"))  # type: ignore[attr-defined]
    context.configure(
        connection=connection,  # type: ignore[arg-type]
        target_metadata=Base.metadata,
        include_object=belongs_to_us,
        compare_server_default=False,
        transactional_ddl=True,
    )
    context.run_migrations()


run()
