"""The grouped write for fixes that are new, as nearly all are: without the price of asking first.

`on conflict do nothing` looks each fix up before it inserts it, holds a lock of its own for each and confirms each in
the log afterwards: a third of all that the database does for a fix. This function inserts as if every fix were new,
and only where that turns out wrong it takes the way of `store_fixes` (`0002`), which bears repeats.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

SIGNATURE = (
    "store_new_fixes(uuid, bigint, uuid[], fix_row[], fix_row[], timestamptz, smallint,"
    " text[], text[], bigint[])"
)

# As in 0002, the lock is had by a statement of its own, and every statement after it looks at the shifts anew. The
# attempt is a subtransaction: what it stored is gone when it fails, and its error is in nobody's log.
STORE_NEW_FIXES = """
create function store_new_fixes(the_town uuid, gate_key bigint, shift_ids uuid[], fresh fix_row[], positions fix_row[],
  arrived_at timestamptz, the_writer smallint, protocols text[], outcomes text[], counts bigint[])
returns table (id uuid, stored bigint) language plpgsql volatile as $$
begin
  perform set_config('xungeng.town', the_town::text, true), pg_advisory_xact_lock_shared(gate_key);
  if cardinality(fresh) > 0 then
    begin
      insert into fixes (town_id, device_id, fixed_at, seq, shift_id, area_id, geom, accuracy_m, altitude_m,
                         speed_mps, heading_deg, battery_pct, charging, flags, sent_at, received_at, attributes)
      select the_town, f.device_id, f.fixed_at, f.seq, f.shift_id, f.area_id,
             ST_SetSRID(ST_MakePoint(f.lon, f.lat), 4326), f.accuracy_m, f.altitude_m, f.speed_mps,
             f.heading_deg, f.battery_pct, f.charging, f.flags, f.sent_at, f.received_at, f.attributes
      from unnest(fresh) f
      join shifts s on s.id = f.shift_id and s.id = any (shift_ids)
        and f.fixed_at >= s.started_at and f.fixed_at < least(coalesce(s.ended_at, s.closes_at), s.closes_at);
      get diagnostics stored = row_count;
      if stored < cardinality(fresh) then
        raise unique_violation;  -- The gate let some not through: which ones is for the other way to say.
      end if;
    exception when unique_violation then
      return query select * from store_fixes(the_town, gate_key, shift_ids, fresh, positions, arrived_at, the_writer,
                                             protocols, outcomes, counts);
      return;
    end;
    return next;  -- Without an id: all of them.
  end if;
  if cardinality(positions) > 0 then
    return query
    with moved as (
      insert into latest_positions as shown (officer_id, town_id, shift_id, room_id, device_id, area_id, geom,
        fixed_at, received_at, accuracy_m, speed_mps, heading_deg, battery_pct, charging)
      select s.officer_id, the_town, f.shift_id, s.area_id, f.device_id, f.area_id,
             ST_SetSRID(ST_MakePoint(f.lon, f.lat), 4326)::geography, f.fixed_at,
             f.received_at, f.accuracy_m, f.speed_mps, f.heading_deg, f.battery_pct, f.charging
      from unnest(positions) f
      join shifts s on s.id = f.shift_id and s.id = any (shift_ids) and s.ended_at is null and s.closes_at > now()
        and f.fixed_at >= s.started_at and f.fixed_at < s.closes_at
      order by s.officer_id
      on conflict (officer_id) do update
        set shift_id = excluded.shift_id, room_id = excluded.room_id, device_id = excluded.device_id,
            area_id = excluded.area_id, geom = excluded.geom, fixed_at = excluded.fixed_at,
            received_at = excluded.received_at, accuracy_m = excluded.accuracy_m, speed_mps = excluded.speed_mps,
            heading_deg = excluded.heading_deg, battery_pct = excluded.battery_pct, charging = excluded.charging
        where excluded.fixed_at > shown.fixed_at
      returning officer_id
    )
    select moved.officer_id, 0::bigint from moved;
  end if;
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
    op.execute(STORE_NEW_FIXES)
    op.execute(f"revoke all on function {SIGNATURE} from public")
    op.execute(f"grant execute on function {SIGNATURE} to xungeng_app")


def downgrade() -> None:
    op.execute(f"drop function {SIGNATURE}")
