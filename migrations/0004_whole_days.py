"""A closed day's fixes beside its thinned track, so that an officer's day is one row and not thousands."""

from alembic import op

revision = "0004"
down_revision = "0003"

# Compressed already, so PostgreSQL need not try; and stored apart from the row, so a replay of many does not read it.
STATEMENTS = """
alter table track_days add column fixes bytea;
alter table track_days alter column fixes set storage external;
"""


def upgrade() -> None:
    op.execute(STATEMENTS)


def downgrade() -> None:
    op.execute("alter table track_days drop column fixes")
