"""The grouped write of fixes as one function: one statement of the application, one round trip, one transaction."""

from alembic import op

revision = "0002"
down_revision = "0001"

SIGNATURE = (
    "store_fixes(uuid, bigint, uuid[], fix_row[], fix_row[], timestamptz, smallint, text[], text[], bigint[])"
)

# The lock is had by a statement of its own, so the ones after it see what was committed before: an end of a shift
# takes the same lock alone, and no fix is let through by an older look at the shift.
STORE_FIXES = """
create function store_fixes(the_town uuid, gate_key bigint, shift_ids uuid[], fresh fix_row[], positions fix_row[],
  arrived_at timestamptz, the_writer smallint, protocols text[], outcomes text[], counts bigint[])
returns table (id uuid, stored bigint) language plpgsql volatile as $$
begin
  perform set_config('xungeng.town', the_town::text, true), pg_advisory_xact_lock_shared(gate_key);
  return query
  with gate as materialized (
    select s.id, s.officer_id, s.area_id, s.started_at,
           least(coalesce(s.ended_at, s.closes_at), s.closes_at) as until,
           s.ended_at is null and s.closes_at > now() as open
    from shifts s where s.id = any (shift_ids)
  ),
  kept as (
    insert into fixes (town_id, device_id, fixed_at, seq, shift_id, area_id, geom, accuracy_m, altitude_m,
                       speed_mps, heading_deg, battery_pct, charging, flags, sent_at, received_at, attributes)
    select the_town, f.device_id, f.fixed_at, f.seq, f.shift_id, f.area_id,
           ST_SetSRID(ST_MakePoint(f.lon, f.lat), 4326), f.accuracy_m, f.altitude_m, f.speed_mps,
           f.heading_deg, f.battery_pct, f.charging, f.flags, f.sent_at, f.received_at, f.attributes
    from unnest(fresh) f
    join gate on gate.id = f.shift_id and f.fixed_at >= gate.started_at and f.fixed_at < gate.until
    on conflict do nothing
    returning device_id
  ),
  moved as (
    insert into latest_positions as shown (officer_id, town_id, shift_id, room_id, device_id, area_id, geom,
      fixed_at, received_at, accuracy_m, speed_mps, heading_deg, battery_pct, charging)
    select gate.officer_id, the_town, f.shift_id, gate.area_id, f.device_id, f.area_id,
           ST_SetSRID(ST_MakePoint(f.lon, f.lat), 4326)::geography, f.fixed_at,
           f.received_at, f.accuracy_m, f.speed_mps, f.heading_deg, f.battery_pct, f.charging
    from unnest(positions) f
    join gate on gate.id = f.shift_id and gate.open and f.fixed_at >= gate.started_at and f.fixed_at < gate.until
    order by gate.officer_id
    on conflict (officer_id) do update
      set shift_id = excluded.shift_id, room_id = excluded.room_id, device_id = excluded.device_id,
          area_id = excluded.area_id, geom = excluded.geom, fixed_at = excluded.fixed_at,
          received_at = excluded.received_at, accuracy_m = excluded.accuracy_m, speed_mps = excluded.speed_mps,
          heading_deg = excluded.heading_deg, battery_pct = excluded.battery_pct, charging = excluded.charging
      where excluded.fixed_at > shown.fixed_at
    returning officer_id
  )
  select kept.device_id, count(*) from kept group by kept.device_id
  union all
  select moved.officer_id, 0 from moved;
  -- Last, because whoever counts in the same row waits for the commit; writers have rows of their own.
  insert into gate_counters (town_id, day, protocol, outcome, writer, count)
  select towns.id, (arrived_at at time zone towns.time_zone)::date, c.protocol, c.outcome, the_writer, c.count
  from towns, unnest(protocols, outcomes, counts) as c (protocol, outcome, count)
  where towns.id = the_town
  order by c.protocol, c.outcome
  on conflict on constraint pk_gate_counters do update set count = gate_counters.count + excluded.count;
end $$
"""


def upgrade() -> None:
    op.execute(STORE_FIXES)
    op.execute(f"revoke all on function {SIGNATURE} from public")
    op.execute(f"grant execute on function {SIGNATURE} to xungeng_app")


def downgrade() -> None:
    op.execute(f"drop function {SIGNATURE}")
