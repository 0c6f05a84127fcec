"""Evidence of two more kinds, video and audio, and how long they are."""

from alembic import op

revision = "0020"
down_revision = "0019"

THERE = """
alter table evidence drop constraint ck_evidence_kind;
alter table evidence add constraint ck_evidence_kind check (kind in ('image', 'video', 'audio'));
alter table evidence drop constraint ck_evidence_reason;
alter table evidence add constraint ck_evidence_reason
  check (reason in ('hash_differs', 'not_an_image', 'not_a_recording', 'too_many_pixels', 'expired'));
alter table evidence add column duration_s real;
alter table evidence add constraint ck_evidence_duration
  check (duration_s is null or duration_s > 0 and kind <> 'image');
"""

# What the release before does not know is refused here, rather than told there with words that nobody reads.
BACK = """
alter table evidence drop constraint ck_evidence_duration;
alter table evidence drop column duration_s;
alter table evidence drop constraint ck_evidence_reason;
alter table evidence add constraint ck_evidence_reason
  check (reason in ('hash_differs', 'not_an_image', 'too_many_pixels', 'expired'));
alter table evidence drop constraint ck_evidence_kind;
alter table evidence add constraint ck_evidence_kind check (kind in ('image'));
"""


def upgrade() -> None:
    op.execute(THERE)


def downgrade() -> None:
    op.execute(BACK)
