"""Calls: roll calls, spot checks and broadcasts, and what each officer who was asked has answered."""

from alembic import op

revision = "0008"
down_revision = "0007"

TABLES = """
create table calls (
  id uuid primary key,
  town_id uuid not null references towns,
  kind text not null,
  state text not null,
  area_id uuid not null references areas,
  crew_id uuid references crews,
  text text,
  created_by uuid not null references users,
  created_at timestamptz not null,
  ends_at timestamptz not null,
  ended_at timestamptz,
  cancelled_at timestamptz,
  version integer not null default 1,
  constraint ck_calls_kind check (kind in ('roll_call', 'spot_check', 'broadcast')),
  constraint ck_calls_state check (state in ('open', 'ended', 'cancelled')),
  constraint ck_calls_text check ((kind = 'broadcast') = (text is not null) and length(text) between 1 and 500),
  constraint ck_calls_crew check (crew_id is null or kind = 'roll_call'),
  constraint ck_calls_ends check (ends_at > created_at),
  constraint ck_calls_ended check ((state = 'ended') = (ended_at is not null)),
  constraint ck_calls_cancelled check ((state = 'cancelled') = (cancelled_at is not null))
);
create index ix_calls_town on calls (town_id, created_at desc, id desc);
create index ix_calls_open_area on calls (area_id) where state = 'open';

create table call_answers (
  id uuid primary key,
  town_id uuid not null references towns,
  call_id uuid not null references calls,
  officer_id uuid not null references users,
  shift_id uuid not null references shifts,
  state text not null,
  asked_at timestamptz not null,
  received_at timestamptz,
  answered_at timestamptz,
  answered_device_at timestamptz,
  missed_at timestamptz,
  excused_at timestamptz,
  geom geography(Point, 4326),
  accuracy_m real,
  fixed_at timestamptz,
  is_inside boolean,
  outside_m real,
  version integer not null default 1,
  constraint uq_call_answers_officer unique (call_id, officer_id),
  constraint ck_call_answers_state check (state in ('asked', 'answered', 'late', 'missed', 'excused')),
  constraint ck_call_answers_answered check ((state in ('answered', 'late')) = (answered_at is not null)),
  constraint ck_call_answers_missed check ((state in ('missed', 'late')) = (missed_at is not null)),
  constraint ck_call_answers_excused check ((state = 'excused') = (excused_at is not null)),
  constraint ck_call_answers_received check (answered_at is null or received_at is not null),
  constraint ck_call_answers_place check (geom is null or answered_at is not null),
  constraint ck_call_answers_fix check (geom is not null or (accuracy_m is null and fixed_at is null)),
  constraint ck_call_answers_inside check ((is_inside is null) = (outside_m is null) and outside_m >= 0)
);
create index ix_call_answers_officer on call_answers (officer_id, asked_at desc, id desc);
create index ix_call_answers_asked on call_answers (officer_id) where state = 'asked';
create index ix_call_answers_shift_id on call_answers (shift_id);
create index ix_call_answers_placed on call_answers (answered_at) where geom is not null;
"""

SCOPED = ("calls", "call_answers")


def upgrade() -> None:
    op.execute(TABLES)
    for table in SCOPED:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
        op.execute(f"grant select, insert, update, delete on {table} to xungeng_app")


def downgrade() -> None:
    for table in reversed(SCOPED):
        op.execute(f"drop table {table}")
