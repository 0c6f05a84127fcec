"""Since when an officer is on his way to a task; and alarms about a whole area that has fallen silent.

What goes wrong on the way is looked for every few seconds among those who are under way, so these have an index.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

KINDS = "'sos', 'silent', 'left_area', 'battery_low', 'deviation', 'sensor'"
SOURCES = "'officer', 'resident', 'device'"


def upgrade() -> None:
    op.execute("alter table assignments add column way_began_at timestamptz")
    op.execute(
        "update assignments set way_began_at = coalesce(departed_at, accepted_at) where state = 'en_route'"
    )
    op.execute(
        "alter table assignments add constraint ck_assignments_way"
        " check ((state = 'en_route') = (way_began_at is not null))"
    )
    # Processes of the version before do not know the column, and go on while this one is rolled out.
    op.execute(
        "create function assignments_way() returns trigger language plpgsql set search_path = pg_catalog as $$"
        " begin"
        "  if new.state <> 'en_route' then new.way_began_at := null;"
        "  else new.way_began_at := coalesce(new.way_began_at, now());"
        "  end if;"
        "  return new;"
        " end $$"
    )
    op.execute(
        "create trigger assignments_way before insert or update on assignments"
        " for each row execute function assignments_way()"
    )
    op.execute("create index ix_assignments_under_way on assignments (town_id) where state = 'en_route'")
    _words(f"{KINDS}, 'outage'", f"{SOURCES}, 'area'")
    op.execute(
        "alter table alarms add constraint ck_alarms_outage"
        " check ((kind = 'outage') = (source = 'area') and (source <> 'area' or source_id = area_id))"
    )


def downgrade() -> None:
    op.execute("alter table alarms drop constraint ck_alarms_outage")
    op.execute("delete from deadlines where subject_id in (select id from alarms where kind = 'outage')")
    op.execute("delete from alarms where kind = 'outage'")
    _words(KINDS, SOURCES)
    op.execute("drop index ix_assignments_under_way")
    op.execute("drop trigger assignments_way on assignments")
    op.execute("drop function assignments_way()")
    op.execute("alter table assignments drop constraint ck_assignments_way, drop column way_began_at")


def _words(kinds: str, sources: str) -> None:
    op.execute(
        "alter table alarms drop constraint ck_alarms_kind, drop constraint ck_alarms_source,"
        f" add constraint ck_alarms_kind check (kind in ({kinds})),"
        f" add constraint ck_alarms_source check (source in ({sources}))"
    )
