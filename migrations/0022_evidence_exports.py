"""Bundles of evidence that are given out, with the pieces that are in each."""

from alembic import op

revision = "0022"
down_revision = "0021"

TABLES = """
create table evidence_exports (
  id uuid primary key,
  town_id uuid not null references towns,
  requested_by uuid not null references users,
  requested_at timestamptz not null,
  reason text not null,
  case_number text,
  pieces integer not null,
  length bigint not null,
  packed bigint not null default 0,
  ready_at timestamptz,
  sha256 bytea,
  bundle_length bigint,
  failed_at timestamptz,
  fault text,
  dropped_at timestamptz,
  constraint ck_evidence_exports_pieces check (pieces > 0 and length > 0 and packed between 0 and length),
  constraint ck_evidence_exports_ready check ((ready_at is null) = (sha256 is null)
    and (ready_at is null) = (bundle_length is null) and octet_length(sha256) = 32 and packed <= length),
  constraint ck_evidence_exports_failed check ((failed_at is null) = (fault is null)
    and (failed_at is null or ready_at is null) and fault in ('evidence_damaged', 'storage_full')),
  constraint ck_evidence_exports_dropped check (dropped_at is null or ready_at is not null)
);
create index ix_evidence_exports_of on evidence_exports (requested_by, requested_at desc, id desc);
create index ix_evidence_exports_town on evidence_exports (town_id, requested_at desc, id desc);
create index ix_evidence_exports_to_make on evidence_exports (town_id, requested_at)
  where ready_at is null and failed_at is null;
create index ix_evidence_exports_to_drop on evidence_exports (town_id, ready_at) where dropped_at is null;
create table evidence_export_items (
  export_id uuid not null references evidence_exports,
  evidence_id uuid not null references evidence,
  town_id uuid not null references towns,
  seq integer not null,
  constraint pk_evidence_export_items primary key (export_id, evidence_id)
);
create index ix_evidence_export_items_evidence on evidence_export_items (evidence_id);
alter table custody drop constraint ck_custody_action;
alter table custody add constraint ck_custody_action check (action in ('created', 'received', 'sealed', 'rejected',
  'previewed', 'viewed', 'damaged', 'restored', 'shared', 'downloaded'));
"""
BACK = """
alter table custody drop constraint ck_custody_action;
alter table custody add constraint ck_custody_action check (action in ('created', 'received', 'sealed', 'rejected',
  'previewed', 'viewed', 'damaged', 'restored')) not valid;
drop table evidence_export_items;
drop table evidence_exports;
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in ("evidence_exports", "evidence_export_items"):
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
        op.execute(f"grant select, insert on {table} to xungeng_app")
        op.execute(f"grant select on {table} to xungeng_auditor")
    op.execute("grant update on evidence_exports to xungeng_app")


def downgrade() -> None:
    op.execute(BACK)
