"""Photos at the points of a patrol: which ones what was said of a point has named."""

from alembic import op

revision = "0017"
down_revision = "0013"

TABLE = """
create table patrol_photos (
  patrol_id uuid not null references patrols,
  evidence_id uuid not null,
  checkpoint_id uuid not null references checkpoints,
  question_id text,
  officer_id uuid not null references users,
  town_id uuid not null references towns,
  named_at timestamptz not null,
  constraint pk_patrol_photos primary key (patrol_id, evidence_id)
);
create index ix_patrol_photos_evidence on patrol_photos (evidence_id);
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute("alter table patrol_photos enable row level security")
    op.execute(
        "create policy town on patrol_photos to xungeng_app, xungeng_auditor"
        " using (town_id = (select xungeng_town())) with check (town_id = (select xungeng_town()))"
    )
    op.execute("grant select, insert on patrol_photos to xungeng_app")
    op.execute("grant select on patrol_photos to xungeng_auditor")


def downgrade() -> None:
    op.execute("drop table patrol_photos")
