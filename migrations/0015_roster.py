"""The roster: planned shifts, what is asked about them, and hand-overs, by which a task passes to the next."""

from alembic import op

revision = "0015"
down_revision = "0014"

TABLES = """
create table planned_shifts (
  id uuid primary key,
  town_id uuid not null references towns,
  officer_id uuid not null references users,
  area_id uuid not null references areas,
  kind text not null,
  remark text,
  begins_at timestamptz not null,
  ends_at timestamptz not null,
  state text not null,
  reason text,
  created_by uuid references users,
  created_at timestamptz not null,
  excused_at timestamptz,
  cancelled_at timestamptz,
  version integer not null default 1,
  constraint ex_planned_shifts_officer exclude using gist (officer_id with =, tstzrange(begins_at, ends_at) with &&)
    where (state = 'planned') deferrable,
  constraint ck_planned_shifts_span check (ends_at > begins_at and ends_at <= begins_at + interval '25 hours'),
  constraint ck_planned_shifts_kind check (kind in ('day', 'evening', 'night', 'standby', 'extra')),
  constraint ck_planned_shifts_state check (state in ('planned', 'excused', 'cancelled')),
  constraint ck_planned_shifts_cancelled check ((state = 'cancelled') = (cancelled_at is not null)),
  constraint ck_planned_shifts_excused check ((state = 'excused') = (excused_at is not null)),
  constraint ck_planned_shifts_reason check ((state = 'cancelled') = (reason is not null))
);
create index ix_planned_shifts_begins on planned_shifts (town_id, begins_at, id);
create index ix_planned_shifts_officer on planned_shifts (officer_id, begins_at);
create index ix_planned_shifts_area_id on planned_shifts (area_id);

create table roster_requests (
  id uuid primary key,
  town_id uuid not null references towns,
  kind text not null,
  state text not null,
  planned_id uuid not null references planned_shifts,
  planned_version integer not null,
  wanted_id uuid references planned_shifts,
  wanted_version integer,
  officer_id uuid not null references users,
  colleague_id uuid references users,
  reason text not null,
  decision text,
  decided_by uuid references users,
  asked_at timestamptz not null,
  submitted_at timestamptz,
  ended_at timestamptz,
  version integer not null default 1,
  constraint ck_roster_requests_kind check (kind in ('swap', 'excuse')),
  constraint ck_roster_requests_state check (state in ('asked', 'submitted', 'declined', 'approved', 'refused',
    'withdrawn', 'lapsed')),
  constraint ck_roster_requests_colleague check ((kind = 'swap') = (colleague_id is not null)),
  constraint ck_roster_requests_other check (colleague_id <> officer_id),
  constraint ck_roster_requests_wanted check ((wanted_id is null) = (wanted_version is null)
    and (wanted_id is null or kind = 'swap')),
  constraint ck_roster_requests_ended check ((state in ('asked', 'submitted')) = (ended_at is null)),
  constraint ck_roster_requests_submitted check ((submitted_at is null) <= (state not in ('submitted', 'approved',
    'refused')) and (state = 'asked') <= (submitted_at is null)),
  constraint ck_roster_requests_decided check ((state in ('approved', 'refused')) = (decided_by is not null)),
  constraint ck_roster_requests_by_another check (decided_by <> officer_id
    and (colleague_id is null or decided_by <> colleague_id)),
  constraint ck_roster_requests_refused check (state <> 'refused' or decision is not null)
);
create unique index uq_roster_requests_open on roster_requests (planned_id) where state in ('asked', 'submitted');
create index ix_roster_requests_asked on roster_requests (town_id, asked_at desc, id desc);
create index ix_roster_requests_officer on roster_requests (officer_id, asked_at desc);
create index ix_roster_requests_colleague on roster_requests (colleague_id, asked_at desc)
  where colleague_id is not null;
create index ix_roster_requests_wanted on roster_requests (wanted_id) where wanted_id is not null;

create table hand_overs (
  id uuid primary key,
  town_id uuid not null references towns,
  area_id uuid not null references areas,
  shift_id uuid not null references shifts,
  giver_id uuid not null references users,
  taker_id uuid references users,
  state text not null,
  watch text,
  equipment jsonb not null,
  answer text,
  given_at timestamptz not null,
  taken_at timestamptz,
  ended_at timestamptz,
  version integer not null default 1,
  constraint ck_hand_overs_state check (state in ('given', 'taken', 'declined', 'withdrawn')),
  constraint ck_hand_overs_other check (taker_id <> giver_id),
  constraint ck_hand_overs_ended check ((state = 'given') = (ended_at is null)),
  constraint ck_hand_overs_taken check ((state = 'taken') = (taken_at is not null)),
  constraint ck_hand_overs_taker check (state not in ('taken', 'declined') or taker_id is not null),
  constraint ck_hand_overs_declined check (state <> 'declined' or answer is not null)
);
create index ix_hand_overs_given on hand_overs (town_id, given_at desc, id desc);
create index ix_hand_overs_waiting on hand_overs (area_id) where state = 'given';
create index ix_hand_overs_giver on hand_overs (giver_id, given_at desc);
create index ix_hand_overs_taker on hand_overs (taker_id, given_at desc);
create unique index uq_hand_overs_shift on hand_overs (shift_id) where state = 'given';

create table hand_over_tasks (
  hand_over_id uuid not null references hand_overs,
  task_id uuid not null references tasks,
  town_id uuid not null references towns,
  passed_at timestamptz,
  constraint pk_hand_over_tasks primary key (hand_over_id, task_id)
);
create index ix_hand_over_tasks_task_id on hand_over_tasks (task_id);

create function hand_overs_stay() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  if old.state <> 'given' then
    raise exception 'what was handed over is not changed';
  end if;
  return new;
end $$;
create trigger hand_overs_stay before update on hand_overs for each row execute function hand_overs_stay();

create function hand_over_tasks_stay() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  if (select state from hand_overs where id = new.hand_over_id) <> 'given' then
    raise exception 'what was handed over is not changed';
  end if;
  return new;
end $$;
create trigger hand_over_tasks_stay before insert or update on hand_over_tasks
  for each row execute function hand_over_tasks_stay();
"""

SHARES = """
alter table assignments drop constraint ck_assignments_state, drop constraint ck_assignments_accepted;
alter table assignments
  add constraint ck_assignments_state check (state in ('offered', 'accepted', 'en_route', 'on_site', 'suspended',
    'declined', 'lapsed', 'withdrawn', 'handed_back', {more}'released', 'done')),
  add constraint ck_assignments_accepted check ((state in ('accepted', 'en_route', 'on_site', 'suspended',
    'handed_back', {more}'released', 'done')) = (accepted_at is not null));
"""

SCOPED = ("planned_shifts", "roster_requests", "hand_overs", "hand_over_tasks")
"""What people were told and did: nothing in the application deletes it."""


def upgrade() -> None:
    # A trusted extension of PostgreSQL itself: the owner of the database may make it.
    op.execute("create extension if not exists btree_gist")
    op.execute(TABLES)
    op.execute(SHARES.format(more="'handed_over', "))
    for table in SCOPED:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
        )
        op.execute(f"grant select, insert, update on {table} to xungeng_app")
    op.execute("revoke update on hand_over_tasks from xungeng_app")
    op.execute("grant update (passed_at) on hand_over_tasks to xungeng_app")


def downgrade() -> None:
    op.execute("delete from deadlines where subject_kind in ('roster_request', 'hand_over')")
    op.execute("update assignments set state = 'handed_back' where state = 'handed_over'")
    op.execute(SHARES.format(more=""))
    for table in reversed(SCOPED):
        op.execute(f"drop table {table}")
    op.execute("drop function hand_overs_stay(), hand_over_tasks_stay()")
    # The extension stays, as PostGIS does: others may lean on it by now.
