"""Appraisals: silences with their cause, months, figures with their inputs, and objections; what is locked stays so."""

from alembic import op

revision = "0018"
down_revision = "0017"

TABLES = """
create table silences (
  id uuid primary key,
  town_id uuid not null references towns,
  alarm_id uuid not null references alarms,
  officer_id uuid not null references users,
  shift_id uuid not null references shifts,
  heard_at timestamptz not null,
  until_at timestamptz not null,
  cause text not null,
  clues jsonb not null,
  noted_at timestamptz not null,
  constraint uq_silences_alarm_officer unique (alarm_id, officer_id),
  constraint ck_silences_span check (until_at >= heard_at),
  constraint ck_silences_cause check (cause in ('outage', 'no_network', 'battery', 'dropout_place', 'phone_settings',
    'unknown'))
);
create index ix_silences_officer on silences (officer_id, heard_at desc);

create table appraisal_months (
  id uuid primary key,
  town_id uuid not null references towns,
  month date not null,
  begins_at timestamptz not null,
  ends_at timestamptz not null,
  formula text not null,
  made_by uuid references users,
  made_at timestamptz not null,
  completed_at timestamptz,
  changed_at timestamptz,
  changes integer not null default 0,
  constraint uq_appraisal_months_month unique (town_id, month),
  constraint ck_appraisal_months_first check (extract(day from month) = 1),
  constraint ck_appraisal_months_span check (ends_at > begins_at)
);

create table appraisal_groups (
  id uuid primary key,
  town_id uuid not null references towns,
  month_id uuid not null references appraisal_months,
  area_id uuid not null references areas,
  call_sign text,
  figures jsonb not null,
  changes integer not null,
  made_at timestamptz not null,
  constraint uq_appraisal_groups_group unique nulls not distinct (month_id, area_id, call_sign)
);

create table appraisals (
  id uuid primary key,
  town_id uuid not null references towns,
  month_id uuid not null references appraisal_months,
  officer_id uuid not null references users,
  area_id uuid not null references areas,
  state text not null,
  figures jsonb not null,
  opened_at timestamptz not null,
  contest_until timestamptz not null,
  reminded_at timestamptz,
  locked_at timestamptz,
  version integer not null default 1,
  constraint uq_appraisals_officer unique (month_id, officer_id),
  constraint ck_appraisals_state check (state in ('draft', 'locked')),
  constraint ck_appraisals_locked check ((state = 'locked') = (locked_at is not null)),
  constraint ck_appraisals_contest check (contest_until > opened_at)
);
create index ix_appraisals_officer on appraisals (officer_id, opened_at desc);
create index ix_appraisals_area_id on appraisals (area_id);
create index ix_appraisals_open on appraisals (town_id, contest_until) where state = 'draft';

create table appraisal_inputs (
  id uuid primary key,
  town_id uuid not null references towns,
  month_id uuid not null references appraisal_months,
  appraisal_id uuid references appraisals,
  figure text not null,
  source text not null,
  source_id uuid not null,
  area_id uuid not null references areas,
  call_sign text,
  happened_at timestamptz not null,
  facts jsonb not null,
  scored_by uuid[] not null default '{}',
  excluded_at timestamptz,
  excluded_by uuid references users,
  exclusion_reason text,
  correction jsonb,
  corrected_at timestamptz,
  corrected_by uuid references users,
  constraint uq_appraisal_inputs_source unique (month_id, figure, source_id),
  constraint ck_appraisal_inputs_figure check (figure in ('rounds_on_time', 'coverage', 'acceptance', 'arrival',
    'silent', 'duty')),
  constraint ck_appraisal_inputs_source check (source in ('patrol', 'assignment', 'silence', 'shift')),
  constraint ck_appraisal_inputs_excluded check ((excluded_at is null) = (excluded_by is null)
    and (excluded_at is null) = (exclusion_reason is null)),
  constraint ck_appraisal_inputs_corrected check ((corrected_at is null) = (corrected_by is null)
    and (corrected_at is null) = (correction is null)),
  constraint ck_appraisal_inputs_nobodys check (appraisal_id is not null
    or num_nonnulls(excluded_at, corrected_at) = 0)
);
create index ix_appraisal_inputs_appraisal on appraisal_inputs (appraisal_id, figure, happened_at, id);
create index ix_appraisal_inputs_area on appraisal_inputs (month_id, area_id);
create index ix_appraisal_inputs_crew on appraisal_inputs (month_id, call_sign) where call_sign is not null;

create table appraisal_contests (
  id uuid primary key,
  town_id uuid not null references towns,
  appraisal_id uuid not null references appraisals,
  input_id uuid not null references appraisal_inputs,
  state text not null,
  reason text not null,
  contested_at timestamptz not null,
  withdrawn_at timestamptz,
  decided_at timestamptz,
  decided_by uuid references users,
  decision text,
  remedy text,
  version integer not null default 1,
  constraint ck_appraisal_contests_state check (state in ('open', 'upheld', 'refused', 'withdrawn')),
  constraint ck_appraisal_contests_decided check ((state in ('upheld', 'refused')) = (decided_at is not null)
    and (decided_at is null) = (decided_by is null) and (decided_at is null) = (decision is null)),
  constraint ck_appraisal_contests_remedy check ((state = 'upheld') = (remedy is not null)),
  constraint ck_appraisal_contests_remedy_word check (remedy in ('exclude', 'correct')),
  constraint ck_appraisal_contests_withdrawn check ((state = 'withdrawn') = (withdrawn_at is not null))
);
create unique index uq_appraisal_contests_input on appraisal_contests (input_id) where state <> 'withdrawn';
create index ix_appraisal_contests_appraisal on appraisal_contests (appraisal_id, contested_at);
create index ix_appraisal_contests_open on appraisal_contests (town_id, contested_at, id) where state = 'open';
"""

# What is locked, and all that belongs to it, is changed by nobody, whoever writes; and of an input nobody changes what
# it was made of: its facts are those of the day on which the month was judged.
LOCKED = """
create function appraisal_is_locked() returns trigger language plpgsql set search_path = public, pg_temp as $$
declare
  about uuid;
  is_locked boolean;
begin
  if tg_table_name = 'appraisals' then
    is_locked := old.state = 'locked';
  else
    about := case when tg_op = 'INSERT' then new.appraisal_id else old.appraisal_id end;
    if about is null then
      is_locked := tg_op <> 'INSERT';
    else
      select state = 'locked' into is_locked from appraisals where id = about;
    end if;
  end if;
  if is_locked then
    raise exception 'this appraisal is locked' using errcode = 'restrict_violation';
  end if;
  if tg_table_name = 'appraisal_inputs' and tg_op = 'UPDATE' then
    if (old.month_id, old.appraisal_id, old.figure, old.source, old.source_id, old.area_id, old.happened_at, old.facts,
        old.scored_by) is distinct from (new.month_id, new.appraisal_id, new.figure, new.source, new.source_id,
        new.area_id, new.happened_at, new.facts, new.scored_by) then
      raise exception 'what an appraisal was made of is not changed' using errcode = 'restrict_violation';
    end if;
  end if;
  return case when tg_op = 'DELETE' then old else new end;
end $$;
create trigger locked before update or delete on appraisals
  for each row execute function appraisal_is_locked();
create trigger locked before insert or update or delete on appraisal_inputs
  for each row execute function appraisal_is_locked();
create trigger locked before insert or update or delete on appraisal_contests
  for each row execute function appraisal_is_locked();
"""

SCOPED = (
    "silences", "appraisal_months", "appraisal_groups", "appraisals", "appraisal_inputs", "appraisal_contests",
)  # fmt: skip


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(LOCKED)
    for table in SCOPED:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
        # What people were told of their work is deleted by nothing in the application.
        op.execute(
            f"grant select, insert{'' if table == 'silences' else ', update'} on {table} to xungeng_app"
        )


def downgrade() -> None:
    for table in reversed(SCOPED):
        op.execute(f"drop table {table}")
    op.execute("drop function appraisal_is_locked")
