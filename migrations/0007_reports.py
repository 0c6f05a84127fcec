"""Reports: what officers find themselves; which kinds of task they may report; and tasks handed over to the police."""

from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = """
alter table task_kinds add column reportable boolean not null default true;
update task_kinds set reportable = false where code in ('sos', 'check', 'escort', 'event');

create table reports (
  id uuid primary key,
  town_id uuid not null references towns,
  number integer not null,
  kind_id uuid not null references task_kinds,
  state text not null,
  officer_id uuid not null references users,
  shift_id uuid references shifts,
  area_id uuid not null references areas,
  geom geography(Point, 4326) not null,
  accuracy_m real,
  fixed_at timestamptz,
  place_from text not null,
  note text,
  evidence_before uuid[] not null default '{}',
  evidence_after uuid[] not null default '{}',
  filed_at timestamptz not null,
  device_at timestamptz,
  closed_at timestamptz,
  sampled_at timestamptz,
  seen_at timestamptz,
  seen_by uuid references users,
  passed_on_at timestamptz,
  task_id uuid references tasks,
  answered_at timestamptz,
  outcome text,
  version integer not null default 1,
  constraint uq_reports_town_number unique (town_id, number),
  constraint ck_reports_state check (state in ('filed', 'closed', 'sampled', 'passed_on', 'answered')),
  constraint ck_reports_place_from check (place_from in ('told', 'last_fix')),
  constraint ck_reports_filed check (state <> 'filed' or (closed_at is null and sampled_at is null)),
  constraint ck_reports_closed check (state not in ('closed', 'sampled') or closed_at is not null),
  constraint ck_reports_sampled check (state <> 'sampled' or (sampled_at is not null and seen_at is null)),
  constraint ck_reports_seen check (seen_at is null or (sampled_at is not null and seen_by is not null)),
  constraint ck_reports_passed_on check ((state in ('passed_on', 'answered')) = (task_id is not null)
    and (task_id is null) = (passed_on_at is null)),
  constraint ck_reports_answered check ((state = 'answered') = (answered_at is not null)
    and (answered_at is null) = (outcome is null)),
  constraint ck_reports_outcome check (outcome in ('handled', 'referred', 'refused'))
);
create index ix_reports_town on reports (town_id, filed_at desc, id desc);
create index ix_reports_officer on reports (officer_id, filed_at desc, id desc);
create index ix_reports_to_look_at on reports (town_id, filed_at desc, id desc) where state = 'sampled';
create unique index uq_reports_task_id on reports (task_id) where task_id is not null;
create index ix_reports_kind_id on reports (kind_id);

-- Who took a task over at 110, under which number, and why: what the town had to do with it is over then.
alter table tasks add column referred_at timestamptz;
alter table tasks add column referral jsonb;
alter table tasks drop constraint ck_tasks_resolved;
alter table tasks add constraint ck_tasks_resolved check (
  (state <> 'resolved' and (state <> 'closed' or referral is not null))
  or (resolved_at is not null and resolved_by is not null and result is not null));
alter table tasks add constraint ck_tasks_referred check ((referral is null) = (referred_at is null)
  and (referral is null or state = 'closed'));
"""

# What was handed over before anybody had resolved it has no result: the older rule has no place for it.
BACK = """
alter table tasks drop constraint ck_tasks_referred;
alter table tasks drop constraint ck_tasks_resolved;
update tasks set state = 'cancelled', cancelled_at = closed_at, closed_at = null
  where referral is not null and (resolved_at is null or resolved_by is null or result is null);
alter table tasks add constraint ck_tasks_resolved check (state not in ('resolved', 'closed')
  or (resolved_at is not null and resolved_by is not null and result is not null));
alter table tasks drop column referral;
alter table tasks drop column referred_at;
drop table reports;
alter table task_kinds drop column reportable;
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute("alter table reports enable row level security")
    op.execute(
        "create policy town on reports to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
        " with check (town_id = (select xungeng_town()))"
    )
    op.execute("grant select, insert, update, delete on reports to xungeng_app")


def downgrade() -> None:
    op.execute(BACK)
