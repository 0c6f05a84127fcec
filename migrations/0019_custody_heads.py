"""Heads over the chains of custody, signed by a key outside, with the ends of the chains that each of them is about."""

from alembic import op

revision = "0019"
down_revision = "0018"

TABLES = """
create table custody_heads (
  town_id uuid not null references towns,
  n integer not null,
  at timestamptz not null,
  items integer not null,
  root bytea not null,
  previous_hash bytea not null,
  public_key bytea not null,
  signature bytea not null,
  constraint pk_custody_heads primary key (town_id, n),
  constraint ck_custody_heads_n check (n > 0 and items > 0),
  constraint ck_custody_heads_bytes check (octet_length(root) = 32 and octet_length(previous_hash) = 32
    and octet_length(public_key) = 32 and octet_length(signature) = 64)
);
create table custody_leaves (
  evidence_id uuid not null,
  seq integer not null,
  town_id uuid not null references towns,
  n integer not null,
  entry_hash bytea not null,
  constraint pk_custody_leaves primary key (evidence_id, seq),
  constraint fk_custody_leaves_head foreign key (town_id, n) references custody_heads,
  constraint ck_custody_leaves_hash check (octet_length(entry_hash) = 32)
);
create index ix_custody_leaves_head on custody_leaves (town_id, n);
create index ix_custody_at on custody (town_id, at);
create trigger custody_heads_stay before update or delete on custody_heads
  for each row execute function custody_stays();
create trigger custody_heads_stay_whole before truncate on custody_heads
  for each statement execute function custody_stays();
create trigger custody_leaves_stay before update or delete on custody_leaves
  for each row execute function custody_stays();
create trigger custody_leaves_stay_whole before truncate on custody_leaves
  for each statement execute function custody_stays();
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in ("custody_heads", "custody_leaves"):
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
        op.execute(f"grant select, insert on {table} to xungeng_app")
        op.execute(f"grant select on {table} to xungeng_auditor")


def downgrade() -> None:
    op.execute("drop table custody_leaves")
    op.execute("drop table custody_heads")
    op.execute("drop index ix_custody_at")
