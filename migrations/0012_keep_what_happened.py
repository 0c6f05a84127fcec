"""What people were told and did is not deleted: nothing in the application does it, so its role may not either."""

from alembic import op

revision = "0012"
down_revision = "0011"

KEPT = ("task_kinds", "tasks", "assignments", "alarms", "reports", "calls", "call_answers")


def upgrade() -> None:
    op.execute(f"revoke delete on {', '.join(KEPT)} from xungeng_app")


def downgrade() -> None:
    op.execute(f"grant delete on {', '.join(KEPT)} to xungeng_app")
