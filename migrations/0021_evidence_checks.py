"""When a file of evidence was last read again, and what was wrong with it."""

from alembic import op

revision = "0021"
down_revision = "0020"

THERE = """
alter table evidence add column checked_at timestamptz;
alter table evidence add column damaged_at timestamptz;
alter table evidence add column damage text;
alter table evidence add constraint ck_evidence_damage
  check ((damaged_at is null) = (damage is null) and damage in ('altered', 'missing')
    and (damaged_at is null or state = 'sealed'));
create index ix_evidence_to_check on evidence (town_id, checked_at nulls first, id) where state = 'sealed';
create index ix_evidence_damaged on evidence (town_id) where damaged_at is not null;
alter table custody drop constraint ck_custody_action;
alter table custody add constraint ck_custody_action check (action in ('created', 'received', 'sealed', 'rejected',
  'previewed', 'viewed', 'damaged', 'restored'));
"""
# Entries of the log stay, whatever the release before makes of them: it is not verified anew for what it cannot say.
BACK = """
alter table custody drop constraint ck_custody_action;
alter table custody add constraint ck_custody_action check (action in ('created', 'received', 'sealed', 'rejected',
  'previewed', 'viewed')) not valid;
drop index ix_evidence_damaged;
drop index ix_evidence_to_check;
alter table evidence drop constraint ck_evidence_damage;
alter table evidence drop column damage;
alter table evidence drop column damaged_at;
alter table evidence drop column checked_at;
"""


def upgrade() -> None:
    op.execute(THERE)


def downgrade() -> None:
    op.execute(BACK)
