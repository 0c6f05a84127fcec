"""Rounds: what a checkpoint is proven by, routes, plans, patrols, visits, and where the detection of visits stands."""

from alembic import op

revision = "0013"
down_revision = "0012"

TABLES = """
alter table checkpoints
  add column radius_m real not null default 25,
  add column min_dwell_s integer not null default 30,
  add column questions jsonb not null default '[]',
  add column label_token text not null default replace(gen_random_uuid()::text, '-', ''),
  add column tag_token text not null default replace(gen_random_uuid()::text, '-', ''),
  add column tag_uid text,
  add column tag_signs boolean not null default false,
  add column tag_counter integer,
  add column created_at timestamptz not null default now(),
  add column retired_at timestamptz,
  add column version integer not null default 1,
  add constraint uq_checkpoints_label_token unique (label_token),
  add constraint uq_checkpoints_tag_token unique (tag_token),
  add constraint ck_checkpoints_fence check (radius_m between 5 and 500 and min_dwell_s between 0 and 3600),
  add constraint ck_checkpoints_tag check ((tag_uid is not null or not tag_signs)
    and (tag_counter is null or tag_signs));
create unique index uq_checkpoints_tag_uid on checkpoints (town_id, tag_uid) where tag_uid is not null;
create index ix_checkpoints_area_id on checkpoints (area_id);

create table routes (
  id uuid primary key,
  town_id uuid not null references towns,
  number integer not null,
  name jsonb not null,
  area_id uuid not null references areas,
  sequence text not null,
  allowed_s integer not null,
  corridor_m real,
  line geometry(LineString, 4326),
  created_at timestamptz not null,
  retired_at timestamptz,
  version integer not null default 1,
  constraint uq_routes_town_number unique (town_id, number),
  constraint ck_routes_name check (name ? 'zh-CN' and name ? 'en'),
  constraint ck_routes_sequence check (sequence in ('fixed', 'any', 'shuffled')),
  constraint ck_routes_allowed check (allowed_s between 60 and 86400),
  constraint ck_routes_corridor check (corridor_m between 10 and 1000 and line is not null or corridor_m is null)
);
create index ix_routes_area_id on routes (area_id);

create table route_points (
  route_id uuid not null references routes,
  position smallint not null,
  town_id uuid not null references towns,
  checkpoint_id uuid not null references checkpoints,
  constraint pk_route_points primary key (route_id, position),
  constraint uq_route_points_checkpoint unique (route_id, checkpoint_id)
);
create index ix_route_points_checkpoint_id on route_points (checkpoint_id);

create table plans (
  id uuid primary key,
  town_id uuid not null references towns,
  route_id uuid not null references routes,
  name jsonb not null,
  rule text not null,
  starts_on date not null,
  starts_at time not null,
  ends_on date,
  late_after_s integer not null,
  window_s integer not null,
  officer_ids uuid[] not null default '{}',
  made_until timestamptz,
  created_at timestamptz not null,
  retired_at timestamptz,
  version integer not null default 1,
  constraint ck_plans_name check (name ? 'zh-CN' and name ? 'en'),
  constraint ck_plans_span check (ends_on >= starts_on),
  constraint ck_plans_times check (late_after_s between 0 and window_s and window_s between 60 and 86400)
);
create index ix_plans_route_id on plans (route_id);
create index ix_plans_town on plans (town_id) where retired_at is null;

create table patrols (
  id uuid primary key,
  town_id uuid not null references towns,
  number integer not null,
  plan_id uuid references plans,
  route_id uuid not null references routes,
  area_id uuid not null references areas,
  sequence text not null,
  allowed_s integer not null,
  corridor_m real,
  adherence jsonb,
  state text not null,
  officer_ids uuid[] not null default '{}',
  scheduled_at timestamptz not null,
  start_by timestamptz,
  officer_id uuid references users,
  shift_id uuid references shifts,
  began_at timestamptz,
  ended_at timestamptz,
  started_at timestamptz,
  paused_at timestamptz,
  finished_at timestamptz,
  late_at timestamptz,
  overdue_at timestamptz,
  missed_at timestamptz,
  cancelled_at timestamptz,
  reason text,
  explanation text,
  explained_at timestamptz,
  created_at timestamptz not null,
  version integer not null default 1,
  constraint uq_patrols_town_number unique (town_id, number),
  constraint ck_patrols_state check (state in ('planned', 'active', 'paused', 'completed', 'ended_early', 'missed',
    'cancelled')),
  constraint ck_patrols_planned check (start_by >= scheduled_at and (plan_id is null or start_by is not null)),
  constraint ck_patrols_begun check ((state in ('active', 'paused', 'completed', 'ended_early'))
    = (officer_id is not null and shift_id is not null and began_at is not null and started_at is not null)),
  constraint ck_patrols_planned_only check (state <> 'planned'
    or num_nonnulls(officer_id, began_at, started_at, paused_at, finished_at, missed_at, cancelled_at) = 0),
  constraint ck_patrols_paused check (state <> 'paused' or paused_at is not null),
  constraint ck_patrols_over check ((state in ('completed', 'ended_early')) = (finished_at is not null)
    and (finished_at is null) = (ended_at is null) and ended_at >= began_at),
  constraint ck_patrols_reason check (state not in ('ended_early', 'cancelled') or reason is not null),
  constraint ck_patrols_missed check (state <> 'missed' or (missed_at is not null and start_by is not null)),
  constraint ck_patrols_cancelled check ((state = 'cancelled') = (cancelled_at is not null)),
  constraint ck_patrols_explained check ((explanation is null) = (explained_at is null))
);
-- What is cancelled because its plan was changed may be made anew for the same moment.
create unique index uq_patrols_plan on patrols (plan_id, scheduled_at) where state <> 'cancelled';
create index ix_patrols_scheduled on patrols (town_id, scheduled_at desc, id desc);
create index ix_patrols_officer on patrols (officer_id, began_at desc) where officer_id is not null;
create index ix_patrols_area_id on patrols (area_id);
create index ix_patrols_open on patrols (town_id, scheduled_at) where state in ('planned', 'active', 'paused');
create index ix_patrols_route_id on patrols (route_id);

create table patrol_points (
  patrol_id uuid not null references patrols,
  position smallint not null,
  town_id uuid not null references towns,
  checkpoint_id uuid not null references checkpoints,
  visit_id uuid,
  visited_at timestamptz,
  answers jsonb,
  answered_at timestamptz,
  reason text,
  skipped_at timestamptz,
  constraint pk_patrol_points primary key (patrol_id, position),
  constraint uq_patrol_points_checkpoint unique (patrol_id, checkpoint_id),
  constraint ck_patrol_points_visited check ((visit_id is null) = (visited_at is null)),
  constraint ck_patrol_points_skipped check ((reason is null) = (skipped_at is null)),
  constraint ck_patrol_points_answers check ((answers is null) = (answered_at is null))
);
create index ix_patrol_points_checkpoint_id on patrol_points (checkpoint_id);

create table patrol_deviations (
  id uuid primary key,
  town_id uuid not null references towns,
  patrol_id uuid not null references patrols,
  began_at timestamptz not null,
  ended_at timestamptz,
  furthest_m real not null,
  explanation text,
  explained_at timestamptz,
  constraint uq_patrol_deviations_began unique (patrol_id, began_at),
  constraint ck_patrol_deviations_span check (ended_at >= began_at),
  constraint ck_patrol_deviations_explained check ((explanation is null) = (explained_at is null))
);

-- Fifty thousand a day in the reference town: by month, and found by who, where and when.
create table visits (
  id uuid not null,
  town_id uuid not null,
  arrived_at timestamptz not null,
  left_at timestamptz,
  checkpoint_id uuid not null,
  officer_id uuid not null,
  device_id uuid,
  shift_id uuid not null,
  area_id uuid not null,
  method text not null,
  dwell_s integer not null,
  facts jsonb not null,
  parts jsonb not null,
  proof smallint not null,
  flags text[] not null default '{}',
  command_id uuid,
  created_at timestamptz not null,
  reviewed_at timestamptz,
  reviewed_by uuid,
  verdict text,
  review_note text,
  version integer not null default 1,
  constraint pk_visits primary key (arrived_at, id),
  constraint ck_visits_span check (left_at >= arrived_at and dwell_s >= 0),
  constraint ck_visits_method check (method in ('dwell', 'nfc', 'nfc_signed', 'qr')),
  constraint ck_visits_proof check (proof between 0 and 100),
  constraint ck_visits_verdict check (verdict in ('genuine', 'doubtful')),
  constraint ck_visits_reviewed check ((verdict is null) = (reviewed_at is null)
    and (reviewed_at is null) = (reviewed_by is null))
) partition by range (arrived_at);
create index ix_visits_id on visits (id);
create index ix_visits_officer on visits (officer_id, arrived_at desc);
create index ix_visits_device on visits (device_id, arrived_at desc);
create index ix_visits_checkpoint on visits (checkpoint_id, arrived_at desc);
create index ix_visits_to_look_at on visits (town_id, arrived_at desc, id desc)
  where flags <> '{}' and reviewed_at is null;
create table visits_default partition of visits default;

-- Where the detection of visits stands: with the town as a whole, and with each device.
create table visit_watches (
  town_id uuid primary key references towns,
  looked_until timestamptz not null
);
create table visit_states (
  device_id uuid primary key references devices,
  town_id uuid not null references towns,
  officer_id uuid not null references users,
  fold jsonb not null,
  fresh jsonb not null default '[]',
  updated_at timestamptz not null
);

alter table deadlines drop constraint ck_deadlines_about;
alter table deadlines add constraint ck_deadlines_about check (about in ('lapse', 'accept', 'arrive', 'complete',
  'escalate', 'roll_call', 'late', 'miss', 'overdue'));
"""

# What was received lately is asked for every few seconds: blocks that hold nothing so young are left out.
RECEIVED = "create index ix_fixes_received_at on fixes using brin (received_at) with (autosummarize = true)"

PARTITIONS = """
create or replace function make_partitions(parent text, first date, last date, step interval) returns integer
  language plpgsql security definer set search_path = public, pg_temp as $$
declare
  lower_bound timestamp := first;
  made integer := 0;
  name text;
  by_column text := case parent when 'fixes' then 'fixed_at' when 'quarantined_fixes' then 'received_at'
    when 'visits' then 'arrived_at' else 'at' end;
begin
  if parent not in ('fixes', 'quarantined_fixes', 'journal', 'disclosures', 'visits') then
    raise exception 'not a partitioned table: %', parent;
  end if;
  if step not in (interval '1 day', interval '1 month') or last - first > 4000 then
    raise exception 'not a partition plan';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('partitions:' || parent, 0));
  if step = interval '1 month' then
    lower_bound := date_trunc('month', lower_bound);
  end if;
  while lower_bound <= last loop
    name := parent || case when step = interval '1 day' then to_char(lower_bound, '_YYYYMMDD')
                           else to_char(lower_bound, '_YYYYMM') end;
    if to_regclass('public.' || name) is null then
      execute format('create table %I (like %I including defaults including constraints)', name, parent);
      -- Rows that waited in the default partition move to where they belong, so that attaching finds none there.
      execute format('with moved as (delete from %I where %I >= %L and %I < %L returning *)'
        ' insert into %I select * from moved',
        parent || '_default',
        by_column, lower_bound at time zone 'UTC', by_column, (lower_bound + step) at time zone 'UTC', name);
      execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, name,
        lower_bound at time zone 'UTC', (lower_bound + step) at time zone 'UTC');
      execute format('alter table %I enable row level security', name);
      made := made + 1;
    end if;
    lower_bound := lower_bound + step;
  end loop;
  return made;
end $$;
"""

PARTITIONS_BEFORE = """
create or replace function make_partitions(parent text, first date, last date, step interval) returns integer
  language plpgsql security definer set search_path = public, pg_temp as $$
declare
  lower_bound timestamp := first;
  made integer := 0;
  name text;
begin
  if parent not in ('fixes', 'quarantined_fixes', 'journal', 'disclosures') then
    raise exception 'not a partitioned table: %', parent;
  end if;
  if step not in (interval '1 day', interval '1 month') or last - first > 4000 then
    raise exception 'not a partition plan';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('partitions:' || parent, 0));
  if step = interval '1 month' then
    lower_bound := date_trunc('month', lower_bound);
  end if;
  while lower_bound <= last loop
    name := parent || case when step = interval '1 day' then to_char(lower_bound, '_YYYYMMDD')
                           else to_char(lower_bound, '_YYYYMM') end;
    if to_regclass('public.' || name) is null then
      execute format('create table %I (like %I including defaults including constraints)', name, parent);
      -- Rows that waited in the default partition move to where they belong, so that attaching finds none there.
      execute format('with moved as (delete from %I where %I >= %L and %I < %L returning *)'
        ' insert into %I select * from moved',
        parent || '_default',
        case parent when 'fixes' then 'fixed_at' when 'quarantined_fixes' then 'received_at' else 'at' end,
        lower_bound at time zone 'UTC',
        case parent when 'fixes' then 'fixed_at' when 'quarantined_fixes' then 'received_at' else 'at' end,
        (lower_bound + step) at time zone 'UTC', name);
      execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, name,
        lower_bound at time zone 'UTC', (lower_bound + step) at time zone 'UTC');
      execute format('alter table %I enable row level security', name);
      made := made + 1;
    end if;
    lower_bound := lower_bound + step;
  end loop;
  return made;
end $$;
"""

SCOPED = (
    "routes", "route_points", "plans", "patrols", "patrol_points", "patrol_deviations", "visits", "visit_watches",
    "visit_states",
)  # fmt: skip
KEPT = ("routes", "plans", "patrols", "patrol_points")
"""What people were told and did: nothing in the application deletes it."""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(RECEIVED)
    op.execute(PARTITIONS)
    for table in SCOPED:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
        verbs = "select, insert, update" if table in KEPT else "select, insert, update, delete"
        op.execute(f"grant {verbs} on {table} to xungeng_app")
    op.execute("alter table visits_default enable row level security")
    op.execute("select make_partitions('visits', current_date - 35, current_date + 62, interval '1 month')")


def downgrade() -> None:
    op.execute("drop index ix_fixes_received_at")
    op.execute(PARTITIONS_BEFORE)
    op.execute("delete from deadlines where about in ('late', 'miss', 'overdue')")
    op.execute("alter table deadlines drop constraint ck_deadlines_about")
    op.execute(
        "alter table deadlines add constraint ck_deadlines_about check (about in ('lapse', 'accept', 'arrive',"
        " 'complete', 'escalate', 'roll_call'))"
    )
    for table in reversed(SCOPED):
        op.execute(f"drop table {table}")
    op.execute("drop index uq_checkpoints_tag_uid")
    op.execute("drop index ix_checkpoints_area_id")
    op.execute(
        "alter table checkpoints drop constraint uq_checkpoints_label_token, drop constraint uq_checkpoints_tag_token,"
        " drop constraint ck_checkpoints_fence, drop constraint ck_checkpoints_tag"
    )
    for column in (
        "radius_m", "min_dwell_s", "questions", "label_token", "tag_token", "tag_uid", "tag_signs", "tag_counter",
        "created_at", "retired_at", "version",
    ):  # fmt: skip
        op.execute(f"alter table checkpoints drop column {column}")
