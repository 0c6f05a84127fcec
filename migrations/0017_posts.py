"""Posts and what is stood at them; duty levels, and plans that go by them and may be of a post."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

TABLES = """
create table posts (
  id uuid primary key,
  town_id uuid not null references towns,
  number integer not null,
  name jsonb not null,
  area_id uuid not null references areas,
  checkpoint_id uuid references checkpoints,
  geom geometry(Point, 4326) not null,
  radius_m real not null,
  needed_percent smallint not null,
  break_s integer not null,
  absent_after_s integer not null,
  instructions text,
  created_at timestamptz not null,
  retired_at timestamptz,
  version integer not null default 1,
  constraint uq_posts_town_number unique (town_id, number),
  constraint ck_posts_name check (name ? 'zh-CN' and name ? 'en'),
  constraint ck_posts_fence check (radius_m between 5 and 500),
  constraint ck_posts_terms check (needed_percent between 1 and 100 and break_s between 0 and 14400
    and absent_after_s between 60 and 3600)
);
create index ix_posts_area_id on posts (area_id);
create index ix_posts_checkpoint_id on posts (checkpoint_id) where checkpoint_id is not null;

create table post_duties (
  id uuid primary key,
  town_id uuid not null references towns,
  number integer not null,
  post_id uuid not null references posts,
  area_id uuid not null references areas,
  plan_id uuid references plans,
  geom geometry(Point, 4326) not null,
  radius_m real not null,
  needed_percent smallint not null,
  break_s integer not null,
  absent_after_s integer not null,
  state text not null,
  officer_ids uuid[] not null default '{}',
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  officer_id uuid references users,
  shift_id uuid references shifts,
  began_at timestamptz,
  ended_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  late_at timestamptz,
  missed_at timestamptz,
  cancelled_at timestamptz,
  reason text,
  explanation text,
  explained_at timestamptz,
  relief_officer_id uuid references users,
  relief_asked_at timestamptz,
  relieves_id uuid references post_duties,
  relief text,
  presence jsonb not null default '{}',
  created_at timestamptz not null,
  version integer not null default 1,
  constraint uq_post_duties_town_number unique (town_id, number),
  constraint ck_post_duties_state check (state in ('planned', 'standing', 'relieved', 'ended', 'ended_early', 'missed',
    'cancelled')),
  constraint ck_post_duties_span check (ends_at > starts_at),
  constraint ck_post_duties_begun check ((state in ('standing', 'relieved', 'ended', 'ended_early'))
    = (officer_id is not null and shift_id is not null and began_at is not null and started_at is not null)),
  constraint ck_post_duties_planned_only check (state <> 'planned'
    or num_nonnulls(officer_id, began_at, started_at, finished_at, missed_at, cancelled_at) = 0),
  constraint ck_post_duties_over check ((state in ('relieved', 'ended', 'ended_early')) = (finished_at is not null)
    and (finished_at is null) = (ended_at is null) and ended_at >= began_at),
  constraint ck_post_duties_reason check (state not in ('ended_early', 'cancelled') or reason is not null),
  constraint ck_post_duties_missed check (state <> 'missed' or missed_at is not null),
  constraint ck_post_duties_cancelled check ((state = 'cancelled') = (cancelled_at is not null)),
  constraint ck_post_duties_explained check ((explanation is null) = (explained_at is null)),
  constraint ck_post_duties_relief check ((relief_officer_id is null) = (relief_asked_at is null)
    and (relief is null) = (relieves_id is null) and relief in ('both', 'scan')),
  constraint ck_post_duties_terms check (radius_m between 5 and 500 and needed_percent between 1 and 100
    and break_s between 0 and 14400 and absent_after_s between 60 and 3600)
);
create unique index uq_post_duties_plan on post_duties (plan_id, starts_at) where state <> 'cancelled';
create unique index uq_post_duties_relieves on post_duties (relieves_id);
-- Nobody stands at two places.
create unique index uq_post_duties_standing on post_duties (officer_id) where state = 'standing';
create index ix_post_duties_starts on post_duties (town_id, starts_at desc, id desc);
create index ix_post_duties_officer on post_duties (officer_id, starts_at desc) where officer_id is not null;
create index ix_post_duties_post on post_duties (post_id, starts_at desc);
create index ix_post_duties_area_id on post_duties (area_id);

create table post_breaks (
  id uuid primary key,
  town_id uuid not null references towns,
  duty_id uuid not null references post_duties,
  began_at timestamptz not null,
  ended_at timestamptz,
  constraint uq_post_breaks_began unique (duty_id, began_at),
  constraint ck_post_breaks_span check (ended_at >= began_at)
);

create table post_absences (
  id uuid primary key,
  town_id uuid not null references towns,
  duty_id uuid not null references post_duties,
  began_at timestamptz not null,
  ended_at timestamptz,
  explanation text,
  explained_at timestamptz,
  constraint uq_post_absences_began unique (duty_id, began_at),
  constraint ck_post_absences_span check (ended_at >= began_at),
  constraint ck_post_absences_explained check ((explanation is null) = (explained_at is null))
);

-- Of one area one level is in force at a time.
create table level_switches (
  id uuid primary key,
  town_id uuid not null references towns,
  area_id uuid not null references areas,
  level text not null,
  since_at timestamptz not null,
  until_at timestamptz not null,
  reason text not null,
  switched_by uuid not null references users,
  ended_at timestamptz,
  ended_by uuid references users,
  end_reason text,
  created_at timestamptz not null,
  version integer not null default 1,
  constraint ck_level_switches_level check (level in ('third', 'second', 'first')),
  constraint ck_level_switches_span check (until_at > since_at),
  constraint ck_level_switches_ended check ((ended_at is null) = (ended_by is null)
    and (ended_at is null) = (end_reason is null) and ended_at between since_at and until_at),
  constraint ex_level_switches_area exclude using gist (area_id with =,
    tstzrange(since_at, coalesce(ended_at, until_at)) with &&)
);
create index ix_level_switches_area_id on level_switches (area_id);
create index ix_level_switches_since on level_switches (town_id, since_at desc, id desc);

alter table plans
  alter column route_id drop not null,
  add column post_id uuid references posts,
  add column lasts_s integer,
  add column levels text[] not null default '{ordinary,third,second,first}',
  add constraint ck_plans_of check (num_nonnulls(route_id, post_id) = 1 and (post_id is null) = (lasts_s is null)
    and lasts_s between 300 and 86400),
  add constraint ck_plans_levels check (levels <@ array['ordinary', 'third', 'second', 'first']
    and cardinality(levels) > 0);
create index ix_plans_post_id on plans (post_id) where post_id is not null;

alter table deadlines drop constraint ck_deadlines_about;
alter table deadlines add constraint ck_deadlines_about check (about in ('lapse', 'accept', 'arrive', 'complete',
  'escalate', 'roll_call', 'late', 'miss', 'overdue', 'begin', 'end'));
"""

SCOPED = ("posts", "post_duties", "post_breaks", "post_absences", "level_switches")
FORGOTTEN = ("post_absences",)
"""An absence that later fixes deny is none, and none is kept for longer than visits are.

All else is what people were told and did, and nothing deletes it.
"""


def upgrade() -> None:
    # A trusted extension of PostgreSQL itself: the owner of the database may make it.
    op.execute("create extension if not exists btree_gist")
    op.execute(TABLES)
    for table in SCOPED:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
        verbs = "select, insert, update, delete" if table in FORGOTTEN else "select, insert, update"
        op.execute(f"grant {verbs} on {table} to xungeng_app")


def downgrade() -> None:
    op.execute("delete from deadlines where about in ('begin', 'end') or subject_kind = 'post_duty'")
    op.execute("alter table deadlines drop constraint ck_deadlines_about")
    op.execute(
        "alter table deadlines add constraint ck_deadlines_about check (about in ('lapse', 'accept', 'arrive',"
        " 'complete', 'escalate', 'roll_call', 'late', 'miss', 'overdue'))"
    )
    for table in ("level_switches", "post_absences", "post_breaks", "post_duties"):
        op.execute(f"drop table {table}")
    op.execute("delete from plans where post_id is not null")
    op.execute(
        "alter table plans drop constraint ck_plans_of, drop constraint ck_plans_levels, drop column post_id,"
        " drop column lasts_s, drop column levels, alter column route_id set not null"
    )
    op.execute("drop table posts")
