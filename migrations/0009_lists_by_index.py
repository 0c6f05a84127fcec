"""Indexes for lists that were read by going through all alarms or all tasks of the installation.

Whoever has called for help asks for his own calls every few seconds, and every client does at its start; the desk looks
for what is overdue; and each hour the places of alarms that are long over are forgotten.
"""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("create index ix_alarms_source on alarms (source_id, raised_at desc, id desc)")
    op.execute("create index ix_alarms_placed on alarms (raised_at) where geom is not null")
    op.execute(
        "create index ix_tasks_overdue on tasks (town_id, created_at desc, id desc) where overdue is not null"
    )


def downgrade() -> None:
    op.execute("drop index ix_tasks_overdue")
    op.execute("drop index ix_alarms_placed")
    op.execute("drop index ix_alarms_source")
