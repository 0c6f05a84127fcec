"""Streets that were walked: roads cut into parts, and the days on which somebody passed each."""

from alembic import op

revision = "0014"
down_revision = "0013"

# Bounded by the length of the town's roads and the days for which it is kept, however many people walk: no partitions.
TABLES = """
create table road_parts (
  road_id uuid not null references roads on delete cascade,
  n smallint not null,
  town_id uuid not null references towns,
  geom geometry(LineString, 4326) not null,
  length_m real not null,
  primary key (road_id, n)
);
create index ix_road_parts_geom on road_parts using gist (geom);

create table road_walks (
  road_id uuid not null,
  n smallint not null,
  day date not null,
  town_id uuid not null references towns,
  last_at timestamptz not null,
  primary key (road_id, n, day),
  constraint fk_road_walks_part foreign key (road_id, n) references road_parts on delete cascade
);
create index ix_road_walks_day on road_walks (town_id, day);
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in ("road_parts", "road_walks"):
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
        op.execute(f"grant select, insert, update, delete on {table} to xungeng_app")


def downgrade() -> None:
    op.execute("drop table road_walks")
    op.execute("drop table road_parts")
