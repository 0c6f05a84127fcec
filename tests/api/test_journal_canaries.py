"""What cannot be deleted is read out of the database after a day's work: no name, no number, no place stands in it."""

from __future__ import annotations

import re
import uuid
from typing import Any

from sqlalchemy import text

from backend.core.vocabulary import Role
from tests.api.conftest import World
from tests.api.test_every_role import BODIES, DESK, OFFICER, SPAN, about, call
from tests.api.test_isolation import _caller

CANARY = "Xqzvw"
"""Stands in every field that somebody may fill and that is about a person or a thing of his."""
NAME, LOGIN, PHONE = f"{CANARY} 王小明", f"{CANARY.lower()}.login", "+8613812345678"
PASSWORD = f"{CANARY} harbour kettle 9"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+")


def test_no_act_leaves_a_name_a_number_or_a_place_in_the_journal(world: World, signed_in: Any) -> None:
    """P33: accounts, devices, shifts, crews, imports, replays and exports with canaries in every field."""
    admin, supervisor = (_caller(world, world.here[name]) for name in ("admin", "supervisor"))
    login = LOGIN + uuid.uuid4().hex[:6]
    new = {"display_name": NAME, "login": login, "password": PASSWORD, "phone": PHONE}
    made = admin.post(f"{DESK}/users", new)
    assert made.status_code == 201, made.text
    user = made.json["id"]
    granted = {"role": "officer", "area_id": str(world.here.areas["a"]), "officer_kind": "patrol"}
    acts = [
        admin.post(f"{DESK}/users/{user}/memberships", granted),
        admin.send("PATCH", f"{DESK}/users/{user}", {"display_name": NAME + "2", "password": PASSWORD + "0"}),
    ]
    officer = about(world, "a")
    device = {"officer_id": str(officer.officer.id), "name": CANARY, "protocol": "owntracks"}
    given = supervisor.post(f"{DESK}/devices", device)
    walker = signed_in(officer.officer)
    crew = {"call_sign": CANARY, "travel": "foot", "member_ids": [user]}
    phone = {"id": str(uuid.uuid4()), "name": CANARY, "platform": CANARY}
    acts += [
        given,
        supervisor.post(f"{DESK}/devices/{given.json['id']}/renew"),
        supervisor.post(f"{DESK}/devices/{given.json['id']}/revoke", {}),
        walker.post(f"{OFFICER}/shifts/{officer.shift_id}/end", {}),
        walker.post(f"{OFFICER}/shifts", {"device": phone, "crew": crew}),
    ]
    shift = acts[-1].json["id"]
    acts += [
        walker.post(f"{OFFICER}/shifts/{shift}/phone", {"id": str(uuid.uuid4()), "name": CANARY}),
        walker.post(f"{OFFICER}/shifts/{shift}/end", {"whole_crew": True}),
        supervisor.post(f"{DESK}/replays", BODIES["POST", f"{DESK}/replays"](officer.ids)),
        supervisor.get(f"{DESK}/officers/{officer.officer.id}/track.gpx", **SPAN),
        call(supervisor, "GET", f"{DESK}/imported-tracks/<track_id>", officer.ids, {}),
        admin.post(f"{DESK}/users/{user}/disable", {"reason": "left"}),
        admin.post(f"{DESK}/users/{user}/enable"),
    ]
    assert [act.status_code for act in acts if act.status_code >= 300] == [], [act.text for act in acts]
    with world.owner.connect() as connection:
        entries = connection.execute(text("select to_jsonb(j)::text from journal j")).scalars().all()
        looks = connection.execute(text("select to_jsonb(d)::text from disclosures d")).scalars().all()
        people = connection.execute(text("select display_name, login, phone from users")).all()
        secrets = [given.json["provisioning"][name] for name in ("user", "password")]
    # The digits of a moment (08:48:31.105) may be those of a place.
    written = MOMENT.sub("", "\n".join((*entries, *looks)))
    assert user in written
    assert str(officer.officer.id) in written
    assert len(entries) > 12
    assert len(looks) >= 3
    canaries = {CANARY, CANARY.lower(), PHONE, PHONE[3:], "王小明", *(s for s in secrets if s)}
    # What is shorter may be a word of any reason.
    canaries |= {part for row in people for part in row if part and len(part) > 6}
    # Places of the town: two digits after the point say the community, four the house.
    lon, lat = world.here.place("a")
    canaries |= {f"{lon:.3f}"[:6], f"{lat:.4f}"[:6], "LINESTRING", '"lon"', '"lat"'}
    found = sorted(canary for canary in canaries if canary in written)
    print(f"P33 canaries in {len(entries)} entries and {len(looks)} looks: {len(found)} of {len(canaries)}")
    assert found == []


def test_a_canary_would_be_found(world: World) -> None:
    """The reading above can fail: a name that is put there is seen."""
    person = next(p for p in world.here.people.values() if p.role is Role.AUDITOR)
    with world.owner.connect() as connection:
        connection.execute(
            text(
                "insert into journal (id, town_id, at, subject_kind, subject_id, action, data) values"
                " (gen_random_uuid(), :town, now(), 'user', :id, 'x', jsonb_build_object('name', cast(:n as text)))"
            ),
            {"town": world.here.id, "id": person.id, "n": NAME},
        )
        rows = connection.execute(text("select to_jsonb(j)::text from journal j")).scalars().all()
        connection.rollback()
    assert any(CANARY in row and "王小明" in row for row in rows)
