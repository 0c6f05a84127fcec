"""A MAC with each entry of the custody log, by a key that is not in the database; entries of before have none."""

from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.execute(
        "alter table custody add column mac bytea,"
        " add constraint ck_custody_mac check (mac is null or octet_length(mac) = 32)"
    )
    op.execute("create index ix_custody_first_mac on custody (town_id, at) where digests ? 'v'")


def downgrade() -> None:
    op.execute("drop index ix_custody_first_mac")
    op.execute("alter table custody drop column mac")
