"""The foundation: towns, people, devices, shifts, fixes, the journal, and row-level security on all of them.

Roles (made here when the migrating role may, otherwise expected to exist): ``xungeng_app`` serves and owns nothing;
``xungeng_auditor`` reads the journals. Every table with a ``town_id`` admits only rows of the town named by the
setting ``xungeng.town``; without the setting there are no rows.
"""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001"
down_revision = None

SCOPED = (
    "areas",
    "roads",
    "checkpoints",
    "departments",
    "basemaps",
    "users",
    "memberships",
    "sessions",
    "refresh_tokens",
    "login_codes",
    "crews",
    "crew_members",
    "invitations",
    "shifts",
    "devices",
    "device_credentials",
    "fixes",
    "latest_positions",
    "quarantined_fixes",
    "gate_counters",
    "late_days",
    "track_days",
    "imported_tracks",
    "commands",
    "journal",
    "disclosures",
)
APPEND_ONLY = ("fixes", "quarantined_fixes", "journal", "disclosures")
PARTITIONED = ("fixes", "quarantined_fixes", "journal", "disclosures")

ROLES = """
do $$
declare wanted text;
begin
  foreach wanted in array array['xungeng_app', 'xungeng_auditor'] loop
    if not exists (select from pg_roles where rolname = wanted) then
      execute format('create role %I nologin nosuperuser nobypassrls nocreatedb nocreaterole', wanted);
    end if;
    if not pg_has_role(current_user, wanted, 'member') then
      execute format('grant %I to current_user', wanted);
    end if;
  end loop;
end $$;
"""

TABLES = """
create table towns (
  id uuid primary key,
  code text not null unique,
  name jsonb not null,
  time_zone text not null,
  locale text not null,
  calendar jsonb not null default '{}',
  created_at timestamptz not null,
  constraint ck_towns_name check (name ? 'zh-CN' and name ? 'en')
);

create table areas (
  id uuid primary key,
  town_id uuid not null references towns,
  parent_id uuid references areas,
  ancestors uuid[] not null,
  kind text not null,
  code text not null,
  name jsonb not null,
  geom geometry(MultiPolygon, 4326) not null,
  constraint uq_areas_town_code unique (town_id, code),
  constraint ck_areas_kind check (kind in ('town', 'community', 'compound', 'grid', 'building')),
  constraint ck_areas_root check ((kind = 'town') = (parent_id is null)),
  constraint ck_areas_ancestors check (id = any (ancestors))
);
create index ix_areas_geom on areas using gist (geom);
create index ix_areas_ancestors on areas using gin (ancestors);
create index ix_areas_parent_id on areas (parent_id);

create table roads (
  id uuid primary key,
  town_id uuid not null references towns,
  kind text not null,
  name jsonb not null,
  geom geometry(LineString, 4326) not null
);
create index ix_roads_geom on roads using gist (geom);

create table checkpoints (
  id uuid primary key,
  town_id uuid not null references towns,
  area_id uuid not null references areas,
  code text not null,
  name jsonb not null,
  geom geometry(Point, 4326) not null,
  constraint uq_checkpoints_town_code unique (town_id, code)
);
create index ix_checkpoints_geom on checkpoints using gist (geom);

create table departments (
  id uuid primary key,
  town_id uuid not null references towns,
  kind text not null,
  name jsonb not null
);
create index ix_departments_town_id on departments (town_id);

create table basemaps (
  id uuid primary key,
  town_id uuid not null references towns,
  position smallint not null,
  kind text not null,
  name jsonb not null,
  url text,
  datum text not null,
  approval_number text,
  attribution text,
  created_at timestamptz not null,
  constraint uq_basemaps_position unique (town_id, position),
  constraint ck_basemaps_url check ((kind = 'none') = (url is null)),
  constraint ck_basemaps_datum check (datum in ('wgs84', 'gcj02', 'bd09'))
);

create table users (
  id uuid primary key,
  town_id uuid not null references towns,
  login text,
  phone text,
  display_name text not null,
  password_hash text,
  totp_secret text,
  totp_enabled_at timestamptz,
  totp_last_step bigint,
  state text not null,
  locale text not null,
  created_at timestamptz not null,
  disabled_at timestamptz,
  version integer not null default 1,
  constraint ck_users_state check (state in ('active', 'disabled')),
  constraint ck_users_disabled check ((state = 'disabled') = (disabled_at is not null)),
  constraint ck_users_totp check (totp_enabled_at is null or totp_secret is not null)
);
create unique index uq_users_login on users (lower(login));
create unique index uq_users_town_phone on users (town_id, phone);
create index ix_users_town_name on users (town_id, display_name, id);

create table memberships (
  id uuid primary key,
  town_id uuid not null references towns,
  user_id uuid not null references users,
  role text not null,
  area_id uuid references areas,
  department_id uuid references departments,
  officer_kind text,
  granted_by uuid references users,
  granted_at timestamptz not null,
  ended_at timestamptz,
  constraint ck_memberships_role check (role in ('resident', 'building_head', 'officer', 'handler', 'dispatcher',
    'supervisor', 'admin', 'auditor')),
  constraint ck_memberships_scope check (area_id is not null or department_id is not null),
  constraint ck_memberships_officer_kind check ((role = 'officer') = (officer_kind is not null)),
  constraint ck_memberships_no_self_grant check (granted_by is distinct from user_id)
);
create index ix_memberships_user_id on memberships (user_id) where ended_at is null;
create index ix_memberships_area_id on memberships (area_id, role) where ended_at is null;

create table sessions (
  id uuid primary key,
  town_id uuid not null references towns,
  user_id uuid not null references users,
  client text not null,
  device_name text,
  device_key_hash bytea,
  address inet,
  created_at timestamptz not null,
  last_used_at timestamptz not null,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  revoke_reason text,
  constraint ck_sessions_revoked check ((revoked_at is null) = (revoke_reason is null))
);
create index ix_sessions_user_id on sessions (user_id, created_at desc);
create index ix_sessions_over_at on sessions ((coalesce(revoked_at, expires_at)));

create table refresh_tokens (
  token_hash bytea primary key,
  town_id uuid not null references towns,
  session_id uuid not null references sessions on delete cascade,
  issued_at timestamptz not null,
  used_at timestamptz
);
create index ix_refresh_tokens_session_id on refresh_tokens (session_id);
create index ix_refresh_tokens_used_at on refresh_tokens (used_at) where used_at is not null;

create table login_codes (
  id uuid primary key,
  town_id uuid not null references towns,
  phone text not null,
  code_hash text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  attempts smallint not null default 0,
  used_at timestamptz
);
create index ix_login_codes_phone on login_codes (town_id, phone, created_at desc);

-- Not scoped: what is limited here happens before anybody is known. Keys are keyed hashes, never names or addresses.
create table throttles (
  key bytea not null,
  window_started_at timestamptz not null,
  count integer not null,
  constraint pk_throttles primary key (key, window_started_at)
);
create index ix_throttles_window on throttles (window_started_at);

create table crews (
  id uuid primary key,
  town_id uuid not null references towns,
  area_id uuid not null references areas,
  call_sign text not null,
  travel text not null,
  leader_id uuid not null references users,
  created_at timestamptz not null,
  constraint ck_crews_travel check (travel in ('foot', 'e_bike', 'car'))
);
create index ix_crews_town_id on crews (town_id, created_at);

create table crew_members (
  crew_id uuid not null references crews on delete cascade,
  user_id uuid not null references users,
  town_id uuid not null references towns,
  constraint pk_crew_members primary key (crew_id, user_id)
);

create table invitations (
  id uuid primary key,
  town_id uuid not null references towns,
  crew_id uuid not null references crews on delete cascade,
  officer_id uuid not null references users,
  state text not null,
  invited_at timestamptz not null,
  expires_at timestamptz not null,
  answered_at timestamptz,
  version integer not null default 1,
  constraint ck_invitations_state check (state in ('pending', 'accepted', 'declined', 'lapsed')),
  constraint ck_invitations_answered check ((state = 'pending') = (answered_at is null))
);
create unique index uq_invitations_crew_officer on invitations (crew_id, officer_id);
create index ix_invitations_officer on invitations (officer_id, invited_at desc);
create index ix_invitations_pending on invitations (town_id) where state = 'pending';

create table shifts (
  id uuid primary key,
  town_id uuid not null references towns,
  officer_id uuid not null references users,
  area_id uuid not null references areas,
  crew_id uuid references crews,
  state text not null,
  started_at timestamptz not null,
  started_device_at timestamptz,
  planned_end_at timestamptz,
  closes_at timestamptz not null,
  ended_at timestamptz,
  ended_by text,
  version integer not null default 1,
  constraint ck_shifts_state check (state in ('on_duty', 'ended')),
  constraint ck_shifts_ended check ((state = 'ended') = (ended_at is not null)),
  constraint ck_shifts_ended_by check ((ended_at is null) = (ended_by is null)),
  constraint ck_shifts_order check (ended_at >= started_at and closes_at > started_at)
);
create unique index uq_shifts_one_open on shifts (officer_id) where ended_at is null;
create index ix_shifts_officer on shifts (officer_id, started_at desc);
create index ix_shifts_town on shifts (town_id, started_at desc);
create index ix_shifts_open_area on shifts (area_id) where ended_at is null;
create index ix_shifts_closes_at on shifts (closes_at) where ended_at is null;

create table devices (
  id uuid primary key,
  town_id uuid not null references towns,
  officer_id uuid not null references users,
  kind text not null,
  protocol text not null,
  name text not null,
  datum text not null default 'wgs84',
  state text not null,
  created_at timestamptz not null,
  created_by uuid references users,
  revoked_at timestamptz,
  version integer not null default 1,
  constraint ck_devices_state check (state in ('active', 'revoked')),
  constraint ck_devices_revoked check ((state = 'revoked') = (revoked_at is not null)),
  constraint ck_devices_datum check (datum in ('wgs84', 'gcj02', 'bd09'))
);
create index ix_devices_officer_id on devices (officer_id);
create index ix_devices_town_id on devices (town_id, created_at desc);

create table device_credentials (
  key_hash bytea primary key,
  town_id uuid not null references towns,
  device_id uuid not null references devices,
  username text,
  created_at timestamptz not null,
  revoked_at timestamptz
);
create index ix_device_credentials_device_id on device_credentials (device_id);

-- One fix is (device, time, sequence). No foreign keys and no spatial index: this is the hottest table, and every
-- question asked of it names a device and a time.
create table fixes (
  town_id uuid not null,
  device_id uuid not null,
  fixed_at timestamptz not null,
  seq smallint not null,
  shift_id uuid not null,
  area_id uuid,
  geom geometry(Point, 4326) not null,
  accuracy_m real,
  altitude_m real,
  speed_mps real,
  heading_deg real,
  battery_pct real,
  charging boolean,
  flags smallint not null default 0,
  sent_at timestamptz,
  received_at timestamptz not null,
  attributes jsonb,
  constraint pk_fixes primary key (device_id, fixed_at, seq)
) partition by range (fixed_at);
create index ix_fixes_fixed_at on fixes using brin (fixed_at);
create table fixes_default partition of fixes default;

-- How a group of fixes travels to the database: one array of these in PostgreSQL's binary format is a single parameter.
create type fix_row as (
  device_id uuid,
  fixed_at timestamptz,
  seq smallint,
  shift_id uuid,
  area_id uuid,
  lon double precision,
  lat double precision,
  accuracy_m real,
  altitude_m real,
  speed_mps real,
  heading_deg real,
  battery_pct real,
  charging boolean,
  flags smallint,
  sent_at timestamptz,
  received_at timestamptz,
  attributes jsonb
);

create table latest_positions (
  officer_id uuid primary key references users,
  town_id uuid not null references towns,
  shift_id uuid not null references shifts,
  room_id uuid not null,
  device_id uuid not null,
  area_id uuid,
  geom geography(Point, 4326) not null,
  fixed_at timestamptz not null,
  received_at timestamptz not null,
  accuracy_m real,
  speed_mps real,
  heading_deg real,
  battery_pct real,
  charging boolean
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 2000,
        autovacuum_vacuum_cost_delay = 0);
create index ix_latest_positions_geom on latest_positions using gist (geom);
create index ix_latest_positions_room_id on latest_positions (room_id);

create table quarantined_fixes (
  id uuid not null,
  town_id uuid not null,
  device_id uuid,
  received_at timestamptz not null,
  protocol text not null,
  reason text not null,
  payload jsonb not null,
  constraint pk_quarantined_fixes primary key (received_at, id)
) partition by range (received_at);
create index ix_quarantined_fixes_town on quarantined_fixes (town_id, received_at desc, id desc);
create table quarantined_fixes_default partition of quarantined_fixes default;

create table gate_counters (
  town_id uuid not null references towns,
  day date not null,
  protocol text not null,
  outcome text not null,
  -- Each writing process counts in rows of its own: in shared ones every grouped write waited for the others' commits.
  writer smallint not null default 0,
  count bigint not null,
  constraint pk_gate_counters primary key (town_id, day, protocol, outcome, writer)
);

-- Days in which a fix arrived after the day was closed: their tracks are made again.
create table late_days (
  town_id uuid not null references towns,
  officer_id uuid not null references users,
  day date not null,
  constraint pk_late_days primary key (officer_id, day)
);

-- One row per officer and closed day: the thinned line that a replay of the whole town draws.
create table track_days (
  town_id uuid not null references towns,
  officer_id uuid not null references users,
  day date not null,
  fix_count integer not null,
  length_m real not null,
  points bytea not null,
  built_at timestamptz not null,
  constraint pk_track_days primary key (day, officer_id)
);
create index ix_track_days_officer on track_days (officer_id, day desc);

create table imported_tracks (
  id uuid primary key,
  town_id uuid not null references towns,
  officer_id uuid references users,
  name text not null,
  point_count integer not null,
  started_at timestamptz not null,
  ended_at timestamptz not null,
  length_m double precision not null,
  segments jsonb not null,
  document bytea not null,
  created_by uuid references users,
  created_at timestamptz not null
);
create index ix_imported_tracks_town on imported_tracks (town_id, created_at desc, id desc);
create index ix_imported_tracks_officer on imported_tracks (officer_id);

create table commands (
  town_id uuid not null references towns,
  actor_id uuid not null,
  route text not null,
  key uuid not null,
  body_hash bytea not null,
  status smallint,
  answer jsonb,
  created_at timestamptz not null,
  constraint pk_commands primary key (actor_id, key)
);
create index ix_commands_created_at on commands (created_at);

create table journal (
  id uuid not null,
  town_id uuid not null,
  at timestamptz not null,
  device_at timestamptz,
  actor_id uuid,
  on_behalf_of uuid,
  command_id uuid,
  subject_kind text not null,
  subject_id uuid not null,
  action text not null,
  "from" text,
  "to" text,
  reason text,
  data jsonb,
  request_id text,
  constraint pk_journal primary key (at, id)
) partition by range (at);
create index ix_journal_subject on journal (subject_id, at desc, id desc);
create index ix_journal_command on journal (command_id) where command_id is not null;
create index ix_journal_town on journal (town_id, at desc, id desc);
create table journal_default partition of journal default;

create table disclosures (
  id uuid not null,
  town_id uuid not null,
  at timestamptz not null,
  actor_id uuid,
  subject_kind text not null,
  subject_id uuid not null,
  kind text not null,
  reason text not null,
  data jsonb,
  request_id text,
  constraint pk_disclosures primary key (at, id)
) partition by range (at);
create index ix_disclosures_subject on disclosures (subject_id, at desc, id desc);
create index ix_disclosures_town on disclosures (town_id, at desc, id desc);
create table disclosures_default partition of disclosures default;
"""

FUNCTIONS = """
create function xungeng_town() returns uuid language sql stable parallel safe
  as $$ select nullif(current_setting('xungeng.town', true), '')::uuid $$;
comment on function xungeng_town() is 'The town of this transaction; null, and so no rows, when none was set.';

-- Functions with the owner's rights look for names in this schema first and in the caller's temporary one last, where
-- they otherwise would look before all others.
--
-- Look-ups that happen before a town is known. Each answers one question by an exact key and nothing else.
create function town_of_login(wanted text) returns uuid language sql stable security definer
  set search_path = public, pg_temp
  as $$ select town_id from users where lower(login) = lower(wanted) $$;
create function town_of_refresh_token(wanted bytea) returns uuid language sql stable security definer
  set search_path = public, pg_temp
  as $$ select town_id from refresh_tokens where token_hash = wanted $$;
create function device_of_credential(wanted bytea)
  returns table (device_id uuid, town_id uuid, officer_id uuid, protocol text, datum text, state text, username text,
                 revoked_at timestamptz)
  language sql stable security definer set search_path = public, pg_temp
  as $$ select d.id, d.town_id, d.officer_id, d.protocol, d.datum, d.state, c.username, c.revoked_at
        from device_credentials c join devices d on d.id = c.device_id where c.key_hash = wanted $$;

-- Fixes of a device whose clock runs ahead may carry times after the end that was pressed; they are not kept.
create function forget_after_end(wanted uuid) returns bigint language sql security definer
  set search_path = public, pg_temp
  as $$
    with shift as (
      select id, officer_id, ended_at from shifts
      where id = wanted and ended_at is not null and town_id = xungeng_town()
    ), gone as (
      delete from fixes f using shift s, devices d
      where d.officer_id = s.officer_id and f.device_id = d.id and f.shift_id = s.id
        and f.fixed_at > s.ended_at and f.fixed_at < s.ended_at + interval '1 day'
      returning 1
    )
    select count(*) from gone
  $$;

-- Partitions are made ahead and dropped by age. The app may call these; it owns no table.
create function make_partitions(parent text, first date, last date, step interval) returns integer
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

create function drop_partitions(parent text, before date) returns integer
  language plpgsql security definer set search_path = public, pg_temp as $$
declare
  child record;
  dropped integer := 0;
begin
  if parent not in ('fixes', 'quarantined_fixes') then
    raise exception 'rows of % are not dropped by age', parent;
  end if;
  if before > current_date - 7 then
    raise exception 'nothing younger than seven days is dropped by age';
  end if;
  -- What came later than its day was kept waits in the default partition.
  execute format('delete from %I where %I < %L', parent || '_default',
    case parent when 'fixes' then 'fixed_at' else 'received_at' end, before::timestamp at time zone 'UTC');
  for child in
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
    where p.relname = parent and p.relnamespace = 'public'::regnamespace and c.relname ~ ('^' || parent || '_[0-9]{8}$')
      and to_date(right(c.relname, 8), 'YYYYMMDD') < before
  loop
    execute format('alter table %I detach partition %I', parent, child.relname);
    execute format('drop table %I', child.relname);
    dropped := dropped + 1;
  end loop;
  return dropped;
end $$;

-- A closed day is laid out in the order in which it is read: device, then time.
create function order_partition(day date) returns boolean
  language plpgsql security definer set search_path = public, pg_temp as $$
declare
  name text := 'fixes' || to_char(day, '_YYYYMMDD');
  pk text;
begin
  if day >= current_date or to_regclass('public.' || name) is null then
    return false;
  end if;
  select c.relname into pk from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = name::regclass and i.indisprimary;
  execute format('cluster %I using %I', name, pk);
  execute format('analyze %I', name);
  return true;
end $$;
"""

# Nothing of ours makes temporary tables, and one may bear the name of a table that an owner's function reads. Where
# the migrating role does not own the database this is a warning, and the functions' search path holds alone.
NO_TEMPORARY_TABLES = """
do $$ begin execute format('revoke temporary on database %I from public', current_database()); end $$
"""

PARTITIONS = """
select make_partitions('fixes', current_date - 35, current_date + 7, interval '1 day');
select make_partitions('quarantined_fixes', current_date - 1, current_date + 7, interval '1 day');
select make_partitions('journal', current_date, current_date + 62, interval '1 month');
select make_partitions('disclosures', current_date, current_date + 62, interval '1 month');
"""


def upgrade() -> None:
    op.execute("create extension if not exists postgis")
    op.execute(ROLES)
    for statements in (TABLES, FUNCTIONS):
        op.execute(statements)
    for table in SCOPED:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
    for table in PARTITIONED:
        op.execute(f"alter table {table}_default enable row level security")
    op.execute(NO_TEMPORARY_TABLES)
    op.execute(PARTITIONS)
    _grant()
    _install_job_queue()


def _grant() -> None:
    """Give each role what its duty needs. A partition is reached through its parent only."""
    op.execute("grant usage on schema public to xungeng_app, xungeng_auditor")
    op.execute("grant select on towns, throttles, alembic_version to xungeng_app")
    op.execute("grant insert, update, delete on throttles to xungeng_app")
    for table in SCOPED:
        verbs = "select, insert" if table in APPEND_ONLY else "select, insert, update, delete"
        op.execute(f"grant {verbs} on {table} to xungeng_app")
    op.execute("grant select on journal, disclosures, gate_counters to xungeng_auditor")
    for signature in (
        "town_of_login(text)",
        "town_of_refresh_token(bytea)",
        "device_of_credential(bytea)",
        "forget_after_end(uuid)",
        "make_partitions(text, date, date, interval)",
        "drop_partitions(text, date)",
        "order_partition(date)",
    ):
        op.execute(f"revoke all on function {signature} from public")
        op.execute(f"grant execute on function {signature} to xungeng_app")


def _install_job_queue() -> None:
    """Install the tables of procrastinate in a schema of their own."""
    op.execute("create schema jobs")
    op.execute("set local search_path = jobs, public")
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))
    op.execute("set local search_path = public")
    op.execute("grant usage on schema jobs to xungeng_app")
    op.execute("grant select, insert, update, delete on all tables in schema jobs to xungeng_app")
    op.execute("grant usage, select on all sequences in schema jobs to xungeng_app")
    op.execute("grant execute on all functions in schema jobs to xungeng_app")


def downgrade() -> None:
    op.execute("drop schema jobs cascade")
    for signature in (
        "town_of_login(text)",
        "town_of_refresh_token(bytea)",
        "device_of_credential(bytea)",
        "forget_after_end(uuid)",
        "make_partitions(text, date, date, interval)",
        "drop_partitions(text, date)",
        "order_partition(date)",
    ):
        op.execute(f"drop function {signature}")
    for table in reversed((*SCOPED, "throttles")):
        op.execute(f"drop table {table} cascade")
    op.execute(
        "do $$ begin execute format('grant temporary on database %I to public', current_database()); end $$"
    )
    op.execute("drop type fix_row")
    op.execute("drop table towns")
    op.execute("drop function xungeng_town()")
    op.execute("revoke usage on schema public from xungeng_app, xungeng_auditor")
