"""Evidence: photos that stand behind what officers report, and the custody log, which nobody changes.

The custody log has one hash chain for each item. Its triggers hold for every role, the owner of the tables too: a row
is added at the end of its chain, and no row is changed or taken away.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

TABLES = """
create table evidence (
  id uuid primary key,
  town_id uuid not null references towns,
  officer_id uuid not null references users,
  kind text not null,
  state text not null,
  media_type text,
  upload_metadata text not null,
  length bigint,
  room_bytes bigint not null default 0,
  declared_sha256 bytea not null,
  sha256 bytea,
  captured_at timestamptz not null,
  shift_id uuid not null references shifts,
  area_id uuid not null references areas,
  width_px integer,
  height_px integer,
  preview_sha256 bytea,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  received_at timestamptz,
  sealed_at timestamptz,
  rejected_at timestamptz,
  dropped_at timestamptz,
  reason text,
  version integer not null default 1,
  constraint ck_evidence_kind check (kind in ('image')),
  constraint ck_evidence_state check (state in ('uploading', 'received', 'sealed', 'rejected')),
  constraint ck_evidence_length check (length > 0),
  constraint ck_evidence_room check (room_bytes >= 0),
  constraint ck_evidence_digests check (octet_length(declared_sha256) = 32
    and (sha256 is null or octet_length(sha256) = 32)
    and (preview_sha256 is null or octet_length(preview_sha256) = 32)),
  constraint ck_evidence_uploading check (state <> 'uploading' or (received_at is null and sha256 is null)),
  constraint ck_evidence_received check (state not in ('received', 'sealed')
    or (received_at is not null and sha256 is not null and length is not null)),
  constraint ck_evidence_sealed check ((state = 'sealed') = (sealed_at is not null)
    and (state <> 'sealed' or (sha256 = declared_sha256 and media_type is not null))),
  constraint ck_evidence_rejected check ((state = 'rejected') = (rejected_at is not null)
    and (rejected_at is null) = (reason is null)),
  constraint ck_evidence_dropped check (dropped_at is null or state = 'rejected'),
  constraint ck_evidence_reason check (reason in ('hash_differs', 'not_an_image', 'too_many_pixels', 'expired'))
);
create index ix_evidence_officer on evidence (officer_id, created_at desc, id desc);
create index ix_evidence_on_its_way on evidence (town_id, created_at) where state in ('uploading', 'received');
create index ix_evidence_content on evidence (town_id, declared_sha256);
create index ix_evidence_to_drop on evidence (town_id, rejected_at) where state = 'rejected' and dropped_at is null;

-- What a town's evidence takes up, or was promised: the sum of its room_bytes, kept in step with each of them.
create table evidence_rooms (
  town_id uuid not null references towns,
  bytes bigint not null,
  constraint pk_evidence_rooms primary key (town_id),
  constraint ck_evidence_rooms_bytes check (bytes >= 0)
);

-- Which photos the results of a task have named: what one has shown stays shown, also when it is done again.
create table task_photos (
  task_id uuid not null references tasks,
  evidence_id uuid not null,
  officer_id uuid not null references users,
  town_id uuid not null references towns,
  named_at timestamptz not null,
  constraint pk_task_photos primary key (task_id, evidence_id)
);
create index ix_task_photos_evidence on task_photos (evidence_id);
insert into task_photos
  select t.id, one.id::uuid, t.resolved_by, t.town_id, t.resolved_at
  from tasks t, jsonb_array_elements_text(t.result -> 'evidence_ids') as one (id)
  where t.resolved_by is not null and t.resolved_at is not null
  on conflict do nothing;

create table custody (
  evidence_id uuid not null references evidence,
  seq integer not null,
  town_id uuid not null references towns,
  at timestamptz not null,
  actor_id uuid,
  action text not null,
  digests jsonb not null,
  previous_hash bytea not null,
  entry_hash bytea not null,
  constraint pk_custody primary key (evidence_id, seq),
  constraint ck_custody_seq check (seq > 0),
  constraint ck_custody_hashes check (octet_length(previous_hash) = 32 and octet_length(entry_hash) = 32),
  constraint ck_custody_action check (action in ('created', 'received', 'sealed', 'rejected', 'previewed', 'viewed'))
);

-- Which report or task a photo belongs to is asked from the photo as well.
create index ix_reports_evidence_before on reports using gin (evidence_before);
create index ix_reports_evidence_after on reports using gin (evidence_after);
"""

FUNCTIONS = """
create function custody_follows() returns trigger language plpgsql set search_path = public, pg_temp as $$
declare
  last record;
begin
  -- Whoever adds an entry holds the item's row, so that two never follow the same one.
  perform 1 from evidence where id = new.evidence_id and town_id = new.town_id for update;
  if not found then
    raise exception 'there is no such evidence in this town' using errcode = 'foreign_key_violation';
  end if;
  select seq, entry_hash into last from custody where evidence_id = new.evidence_id order by seq desc limit 1;
  if new.seq is distinct from coalesce(last.seq, 0) + 1
     or new.previous_hash is distinct from coalesce(last.entry_hash, decode(repeat('00', 32), 'hex')) then
    raise exception 'an entry of custody follows the last one' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;

create function custody_stays() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  raise exception 'the custody log is only ever added to' using errcode = 'restrict_violation';
end $$;

create trigger custody_follows before insert on custody for each row execute function custody_follows();
create trigger custody_stays before update or delete on custody for each row execute function custody_stays();
create trigger custody_stays_whole before truncate on custody for each statement execute function custody_stays();

-- What was declared at capture is what is proven later: it never becomes something else. What was found of it once,
-- stays; and what is sealed or rejected is so for good.
create function evidence_stays() returns trigger language plpgsql set search_path = public, pg_temp as $$
begin
  if (new.id, new.town_id, new.officer_id, new.kind, new.declared_sha256, new.captured_at, new.shift_id, new.area_id,
      new.created_at, coalesce(old.length, new.length), coalesce(old.sha256, new.sha256),
      coalesce(old.media_type, new.media_type), coalesce(old.preview_sha256, new.preview_sha256))
     is distinct from
     (old.id, old.town_id, old.officer_id, old.kind, old.declared_sha256, old.captured_at, old.shift_id, old.area_id,
      old.created_at, new.length, new.sha256, new.media_type, new.preview_sha256) then
    raise exception 'what was declared of evidence does not change' using errcode = 'restrict_violation';
  end if;
  if old.state in ('sealed', 'rejected') and new.state is distinct from old.state then
    raise exception 'evidence that is sealed or rejected stays so' using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger evidence_stays before update on evidence for each row execute function evidence_stays();
"""

BACK = """
drop index ix_reports_evidence_after;
drop index ix_reports_evidence_before;
drop table custody;
drop table task_photos;
drop table evidence_rooms;
drop table evidence;
drop function evidence_stays();
drop function custody_stays();
drop function custody_follows();
"""


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(FUNCTIONS)
    for table in ("evidence", "evidence_rooms", "task_photos", "custody"):
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app, xungeng_auditor using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
    op.execute("grant select, insert, update on evidence, evidence_rooms to xungeng_app")
    op.execute("grant select, insert on task_photos, custody to xungeng_app")
    op.execute("grant select on evidence, evidence_rooms, task_photos, custody to xungeng_auditor")


def downgrade() -> None:
    op.execute(BACK)
