"""Dispatch: kinds of task, tasks, who is assigned to them, alarms, deadlines, and the short numbers people say."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
alter table users add column skills text[] not null default '{}';

-- Short numbers that people say over the radio, counted per town and kind.
create table numbers (
  town_id uuid not null references towns,
  kind text not null,
  last integer not null,
  constraint pk_numbers primary key (town_id, kind)
);

create table task_kinds (
  id uuid primary key,
  town_id uuid not null references towns,
  code text not null,
  name jsonb not null,
  priority text not null,
  officer_kinds text[] not null default '{}',
  skill text,
  needed smallint not null default 1,
  checklist jsonb not null default '[]',
  questions jsonb not null default '[]',
  wants_evidence boolean not null default false,
  offer_s integer not null default 90,
  accept_within_s integer,
  arrive_within_s integer,
  complete_within_s integer,
  created_at timestamptz not null,
  retired_at timestamptz,
  version integer not null default 1,
  constraint uq_task_kinds_town_code unique (town_id, code),
  constraint ck_task_kinds_name check (name ? 'zh-CN' and name ? 'en'),
  constraint ck_task_kinds_priority check (priority in ('low', 'normal', 'high', 'critical')),
  constraint ck_task_kinds_needed check (needed between 1 and 50),
  constraint ck_task_kinds_times check (offer_s between 10 and 86400 and accept_within_s > 0 and arrive_within_s > 0
    and complete_within_s > 0)
);

create table tasks (
  id uuid primary key,
  town_id uuid not null references towns,
  number integer not null,
  kind_id uuid not null references task_kinds,
  state text not null,
  suspended_from text,
  priority text not null,
  description text not null,
  area_id uuid not null references areas,
  geom geography(Point, 4326) not null,
  place_name text,
  source text not null,
  source_id uuid,
  needed smallint not null,
  by_crew boolean not null default false,
  offers_itself boolean not null default false,
  created_by uuid references users,
  created_at timestamptz not null,
  accept_due_at timestamptz,
  arrive_due_at timestamptz,
  complete_due_at timestamptz,
  overdue text,
  offered_at timestamptz,
  accepted_at timestamptz,
  filled_at timestamptz,
  departed_at timestamptz,
  arrived_at timestamptz,
  suspended_at timestamptz,
  resolved_at timestamptz,
  resolved_by uuid references users,
  closed_at timestamptz,
  cancelled_at timestamptz,
  result jsonb,
  version integer not null default 1,
  constraint uq_tasks_town_number unique (town_id, number),
  constraint ck_tasks_state check (state in ('open', 'offered', 'accepted', 'en_route', 'on_site', 'suspended',
    'resolved', 'closed', 'cancelled')),
  constraint ck_tasks_priority check (priority in ('low', 'normal', 'high', 'critical')),
  constraint ck_tasks_source check (source in ('desk', 'alarm', 'report', 'complaint', 'patrol')),
  constraint ck_tasks_needed check (needed between 1 and 50),
  constraint ck_tasks_suspended check ((state = 'suspended') = (suspended_from is not null)),
  constraint ck_tasks_suspended_from check (suspended_from in ('accepted', 'en_route', 'on_site')),
  constraint ck_tasks_resolved check (state not in ('resolved', 'closed')
    or (resolved_at is not null and resolved_by is not null and result is not null)),
  constraint ck_tasks_closed check ((state = 'closed') = (closed_at is not null)),
  constraint ck_tasks_cancelled check ((state = 'cancelled') = (cancelled_at is not null)),
  constraint ck_tasks_offered check (state <> 'offered' or offered_at is not null),
  constraint ck_tasks_accepted check (state not in ('accepted', 'en_route', 'on_site', 'suspended')
    or accepted_at is not null),
  constraint ck_tasks_overdue check (overdue in ('accept', 'arrive', 'complete'))
);
create index ix_tasks_town on tasks (town_id, created_at desc, id desc);
create index ix_tasks_open_area on tasks (area_id) where state not in ('closed', 'cancelled');
create index ix_tasks_source on tasks (source_id) where source_id is not null;
create index ix_tasks_kind_id on tasks (kind_id);

create table assignments (
  id uuid primary key,
  town_id uuid not null references towns,
  task_id uuid not null references tasks,
  officer_id uuid not null references users,
  state text not null,
  suspended_from text,
  suspended_by uuid references tasks,
  distance_m real,
  eta_s integer,
  offered_by uuid references users,
  offered_at timestamptz not null,
  lapses_at timestamptz,
  accepted_at timestamptz,
  departed_at timestamptz,
  arrived_at timestamptz,
  ended_at timestamptz,
  reason text,
  version integer not null default 1,
  constraint ck_assignments_state check (state in ('offered', 'accepted', 'en_route', 'on_site', 'suspended',
    'declined', 'lapsed', 'withdrawn', 'handed_back', 'released', 'done')),
  constraint ck_assignments_ended check ((state in ('offered', 'accepted', 'en_route', 'on_site', 'suspended'))
    = (ended_at is null)),
  constraint ck_assignments_suspended check ((state = 'suspended') = (suspended_from is not null)),
  constraint ck_assignments_suspended_from check (suspended_from in ('accepted', 'en_route', 'on_site')),
  constraint ck_assignments_accepted check ((state in ('accepted', 'en_route', 'on_site', 'suspended', 'handed_back',
    'released', 'done')) = (accepted_at is not null)),
  constraint ck_assignments_going check (accepted_at is not null or (departed_at is null and arrived_at is null)),
  constraint ck_assignments_suspended_by check (suspended_by is null or state = 'suspended'),
  constraint ck_assignments_on_site check (state <> 'on_site' or arrived_at is not null)
);
create unique index uq_assignments_one_of_officer on assignments (task_id, officer_id) where ended_at is null;
create index ix_assignments_task_id on assignments (task_id, offered_at);
create index ix_assignments_officer on assignments (officer_id) where ended_at is null;
create index ix_assignments_officer_past on assignments (officer_id, offered_at desc);

create table alarms (
  id uuid primary key,
  town_id uuid not null references towns,
  number integer not null,
  kind text not null,
  source text not null,
  source_id uuid not null,
  state text not null,
  priority text not null,
  level smallint not null default 0,
  area_id uuid not null references areas,
  officer_id uuid references users,
  resident_id uuid references users,
  shift_id uuid references shifts,
  geom geography(Point, 4326),
  accuracy_m real,
  fixed_at timestamptz,
  detail jsonb not null default '{}',
  raised_at timestamptz not null,
  raised_device_at timestamptz,
  acknowledged_at timestamptz,
  acknowledged_by uuid references users,
  dispatched_at timestamptz,
  task_id uuid references tasks,
  cleared_at timestamptz,
  dismissed_at timestamptz,
  version integer not null default 1,
  constraint uq_alarms_town_number unique (town_id, number),
  constraint ck_alarms_kind check (kind in ('sos', 'silent', 'left_area', 'battery_low', 'deviation', 'sensor')),
  constraint ck_alarms_source check (source in ('officer', 'resident', 'device')),
  constraint ck_alarms_state check (state in ('raised', 'acknowledged', 'dispatched', 'cleared', 'false')),
  constraint ck_alarms_priority check (priority in ('low', 'normal', 'high', 'critical')),
  constraint ck_alarms_acknowledged check ((acknowledged_at is null) = (acknowledged_by is null)),
  constraint ck_alarms_raised check (state <> 'raised' or (acknowledged_at is null and dispatched_at is null)),
  constraint ck_alarms_taken_on check (state <> 'acknowledged' or acknowledged_at is not null),
  constraint ck_alarms_dispatched check (state <> 'dispatched' or (dispatched_at is not null and task_id is not null)),
  constraint ck_alarms_cleared check ((state = 'cleared') = (cleared_at is not null)),
  constraint ck_alarms_dismissed check ((state = 'false') = (dismissed_at is not null))
);
-- Raised once per source and kind, while it is open.
create unique index uq_alarms_one_open on alarms (town_id, kind, source, source_id)
  where state in ('raised', 'acknowledged', 'dispatched');
create index ix_alarms_town on alarms (town_id, raised_at desc, id desc);
create index ix_alarms_open_area on alarms (area_id) where state in ('raised', 'acknowledged', 'dispatched');
create index ix_alarms_task_id on alarms (task_id) where task_id is not null;

-- What a clock has to see to. A row is done once: whoever does it holds its lock and stamps it in the same transaction.
create table deadlines (
  id uuid primary key,
  town_id uuid not null references towns,
  subject_kind text not null,
  subject_id uuid not null,
  about text not null,
  level smallint not null default 0,
  due_at timestamptz not null,
  done_at timestamptz,
  constraint ck_deadlines_about check (about in ('lapse', 'accept', 'arrive', 'complete', 'escalate', 'roll_call'))
);
create unique index uq_deadlines_waiting on deadlines (subject_id, about, level) where done_at is null;
create index ix_deadlines_due on deadlines (due_at) where done_at is null;
create index ix_deadlines_done on deadlines (done_at) where done_at is not null;

-- The ladder of who is told next when nobody acts: data of the town.
create table ladder_rungs (
  town_id uuid not null references towns,
  about text not null,
  level smallint not null,
  after_s integer not null,
  tells text not null,
  constraint pk_ladder_rungs primary key (town_id, about, level),
  constraint ck_ladder_rungs_tells check (tells in ('officer', 'dispatcher', 'supervisor')),
  constraint ck_ladder_rungs_after check (after_s between 0 and 604800)
);
"""

SCOPED = ("numbers", "task_kinds", "tasks", "assignments", "alarms", "deadlines", "ladder_rungs")


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
    for table in ("ladder_rungs", "deadlines", "alarms", "assignments", "tasks", "task_kinds", "numbers"):
        op.execute(f"drop table {table}")
    op.execute("alter table users drop column skills")
