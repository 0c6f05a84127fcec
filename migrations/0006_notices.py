"""Notices, what was done to bring them to people, where people are reached, what they want, and WeChat's credits."""

from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = """
create table notices (
  id uuid primary key,
  town_id uuid not null references towns,
  recipient_id uuid not null references users,
  kind text not null,
  subject_kind text not null,
  subject_id uuid not null,
  params jsonb not null,
  priority smallint not null,
  coalesce_key text,
  created_at timestamptz not null,
  expires_at timestamptz,
  read_at timestamptz,
  confirmed_at timestamptz,
  replaced_at timestamptz,
  constraint ck_notices_priority check (priority between 0 and 3),
  constraint ck_notices_confirmed check (confirmed_at is null or read_at is not null),
  constraint ck_notices_replaced check (replaced_at is null or read_at is null),
  constraint ck_notices_expires check (expires_at > created_at)
);
create index ix_notices_recipient on notices (recipient_id, created_at desc, id desc) where replaced_at is null;
create index ix_notices_unread on notices (recipient_id) where read_at is null and replaced_at is null;
create index ix_notices_coalesce on notices (recipient_id, coalesce_key)
  where coalesce_key is not null and replaced_at is null;
create index ix_notices_subject on notices (subject_id, kind);
create index ix_notices_created_at on notices (town_id, created_at);

-- not_before_at is null while an earlier channel of the same notice has its turn.
create table deliveries (
  id uuid primary key,
  town_id uuid not null references towns,
  notice_id uuid not null references notices on delete cascade,
  recipient_id uuid not null references users,
  channel text not null,
  position smallint not null,
  priority smallint not null,
  state text not null,
  not_before_at timestamptz,
  attempts smallint not null default 0,
  lease_ends_at timestamptz,
  provider_ref text,
  error text,
  created_at timestamptz not null,
  sent_at timestamptz,
  confirmed_at timestamptz,
  ended_at timestamptz,
  constraint uq_deliveries_position unique (notice_id, position),
  constraint ck_deliveries_channel check (channel in ('fcm', 'webpush', 'wecom', 'wecom_robot', 'wechat_mini',
    'wechat_service', 'sms', 'voice', 'email')),
  constraint ck_deliveries_state check (state in ('waiting', 'leased', 'sent', 'confirmed', 'failed', 'dead',
    'skipped')),
  constraint ck_deliveries_attempts check (attempts >= 0),
  constraint ck_deliveries_leased check ((state = 'leased') = (lease_ends_at is not null)),
  constraint ck_deliveries_leased_due check (state <> 'leased' or not_before_at is not null),
  constraint ck_deliveries_sent check ((state in ('sent', 'confirmed')) = (sent_at is not null)),
  constraint ck_deliveries_confirmed check ((state = 'confirmed') = (confirmed_at is not null)),
  constraint ck_deliveries_ended check ((state in ('failed', 'dead', 'skipped')) = (ended_at is not null)),
  constraint ck_deliveries_error check (ended_at is null or error is not null)
);
create index ix_deliveries_due on deliveries (town_id, channel, priority, not_before_at)
  where state in ('waiting', 'leased');
create index ix_deliveries_order on deliveries (recipient_id, channel, id) where state in ('waiting', 'leased');
create index ix_deliveries_dead on deliveries (town_id, ended_at desc, id desc) where state = 'dead';

create table addresses (
  id uuid primary key,
  town_id uuid not null references towns,
  user_id uuid not null references users,
  channel text not null,
  token text not null,
  keys jsonb,
  session_id uuid references sessions on delete cascade,
  created_at timestamptz not null,
  dead_at timestamptz,
  dead_reason text,
  constraint uq_addresses_token unique (town_id, channel, token),
  constraint ck_addresses_channel check (channel in ('fcm', 'webpush', 'wecom', 'wechat_mini', 'wechat_service',
    'sms', 'voice', 'email')),
  constraint ck_addresses_dead check ((dead_at is null) = (dead_reason is null)),
  constraint ck_addresses_keys check ((channel = 'webpush') = (keys is not null)),
  constraint ck_addresses_token check (length(token) between 1 and 1000)
);
create index ix_addresses_user on addresses (user_id, channel) where dead_at is null;
create index ix_addresses_session_id on addresses (session_id) where session_id is not null;
create index ix_addresses_dead_at on addresses (dead_at) where dead_at is not null;

create table notice_settings (
  user_id uuid primary key references users,
  town_id uuid not null references towns,
  channels jsonb not null default '{}',
  quiet_from time,
  quiet_until time,
  updated_at timestamptz not null,
  constraint ck_notice_settings_quiet check ((quiet_from is null) = (quiet_until is null)),
  constraint ck_notice_settings_span check (quiet_from is distinct from quiet_until or quiet_from is null)
);

create table wechat_credits (
  user_id uuid not null references users,
  template_id text not null,
  town_id uuid not null references towns,
  remaining smallint not null,
  updated_at timestamptz not null,
  constraint pk_wechat_credits primary key (user_id, template_id),
  constraint ck_wechat_credits_remaining check (remaining between 0 and 100)
);
"""

SCOPED = ("notices", "deliveries", "addresses", "notice_settings", "wechat_credits")

# The sender serves every town and enters one at a time: this says which, and nothing of what is in them.
DUE = """
create function deliveries_due(moment timestamptz)
  returns table (town_id uuid, channel text, urgent boolean) language sql stable security definer
  set search_path = public, pg_temp
  as $$ select distinct d.town_id, d.channel, d.priority = 0 from deliveries d
        where d.state in ('waiting', 'leased') and d.not_before_at <= moment $$;
"""


def upgrade() -> None:
    op.execute(TABLES)
    for table in SCOPED:
        op.execute(f"alter table {table} enable row level security")
        op.execute(
            f"create policy town on {table} to xungeng_app using (town_id = (select xungeng_town()))"
            " with check (town_id = (select xungeng_town()))"
        )
        op.execute(f"grant select, insert, update, delete on {table} to xungeng_app")
    op.execute(DUE)
    op.execute("revoke all on function deliveries_due(timestamptz) from public")
    op.execute("grant execute on function deliveries_due(timestamptz) to xungeng_app")


def downgrade() -> None:
    op.execute("drop function deliveries_due(timestamptz)")
    for table in reversed(SCOPED):
        op.execute(f"drop table {table}")
