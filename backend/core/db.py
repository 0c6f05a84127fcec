"""The connection pool of a process, and the check that its role is the one row-level security holds."""

from sqlalchemy import Engine, create_engine, text

from backend.core.config import Config, ConfigError

STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000

_engine: Engine | None = None


def engine_for(config: Config, *, pool_size: int = 10) -> Engine:
    """Return an engine that connects as the application's role, with bounded waits and dead connections noticed."""
    return create_engine(
        config.database_url,
        pool_size=pool_size,
        max_overflow=pool_size * 2,
        pool_timeout=10,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={"connect_timeout": 5, "application_name": "xungeng"},
    )


def set_engine(engine: Engine | None) -> None:
    """Make ``engine`` the one that units of work open on; composition roots and tests call this."""
    global _engine
    _engine = engine


def get_engine() -> Engine:
    """Return the engine of this process."""
    if _engine is None:
        raise RuntimeError("No engine was set; a composition root has to call set_engine first.")
    return _engine


def check_role(engine: Engine) -> None:
    """Refuse to serve with a role that row-level security does not hold.

    Raises:
        ConfigError: the role is a superuser, bypasses row-level security, or owns tables.
    """
    with engine.connect() as connection:
        row = connection.execute(
            text(
                "select rolname, rolsuper, rolbypassrls, exists (select from pg_class c where c.relowner = r.oid"
                " and c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')) as owns"
                " from pg_roles r where rolname = current_user"
            )
        ).one()
    if row.rolsuper or row.rolbypassrls or row.owns:
        raise ConfigError(
            f"The application would connect as {row.rolname}, which row-level security does not hold"
            " (a superuser, BYPASSRLS, or the owner of the tables); give DATABASE_APP_URL a plain role that is"
            " a member of xungeng_app."
        )
