"""Photos at the points of a patrol, and the codes that set up officers' phones."""

from alembic import op

revision = "0016"
down_revision = "0015"

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

create table phone_setups (
  id uuid primary key,
  town_id uuid not null references towns,
  officer_id uuid not null references users,
  protocol text not null,
  code_hash bytea not null,
  created_at timestamptz not null,
  created_by uuid references users,
  expires_at timestamptz not null,
  used_at timestamptz,
  device_id uuid references devices,
  constraint uq_phone_setups_code unique (code_hash),
  constraint ck_phone_setups_protocol check (protocol in ('officer', 'osmand', 'owntracks', 'overland', 'gpslogger')),
  constraint ck_phone_setups_used check (device_id is null or used_at is not null)
);
create index ix_phone_setups_officer on phone_setups (officer_id, created_at desc, id desc);
"""


def upgrade() -> None:
    op.execute(TABLE)
    for table in ("patrol_photos", "phone_setups"):
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
    op.execute("grant select, insert on patrol_photos to xungeng_app")
    op.execute("grant select, insert, update, delete on phone_setups to xungeng_app")
    op.execute("grant select on patrol_photos, phone_setups to xungeng_auditor")


def downgrade() -> None:
    op.execute("drop table phone_setups")
    op.execute("drop table patrol_photos")
