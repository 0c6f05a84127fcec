"""Whom the desk can name: officers of its own areas on shift or not, and one shift with its crew."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import event


def _starts_a_shift(signed_in: Any, person: Any) -> dict[str, Any]:
    answer = signed_in(person).post(
        "/api/v1/officer/shifts",
        {
            "device": {"id": str(uuid.uuid4()), "name": "phone", "platform": "test"},
            "crew": {"call_sign": "巡7", "travel": "foot", "member_ids": []},
            "device_at": datetime.now(UTC).isoformat(),
        },
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def test_the_directory_names_officers_of_ones_areas_on_shift_or_not(world: Any, signed_in: Any) -> None:
    """F41: an officer of another community is in no list."""
    ours, theirs = world.officer("a"), world.officer("b")
    page = signed_in("desk_a").get("/api/v1/desk/officers/directory", limit=500).json
    ids = {one["id"] for one in page["items"]}
    assert str(ours.id) in ids
    assert str(theirs.id) not in ids


def test_the_directory_is_searched_by_a_part_of_the_name_and_paged(world: Any, signed_in: Any) -> None:
    found = [world.officer("a") for _ in range(3)]
    desk = signed_in("desk_a")
    by_name = desk.get("/api/v1/desk/officers/directory", q=found[0].login[:4]).json
    assert all(one["kind"] for one in by_name["items"])
    seen: list[str] = []
    cursor = None
    while True:
        page = desk.get(
            "/api/v1/desk/officers/directory", limit=2, **({"cursor": cursor} if cursor else {})
        ).json
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert {str(one.id) for one in found} <= set(seen)
    assert desk.get("/api/v1/desk/officers/directory", cursor="nonsense").status_code == 422


def test_a_shift_shows_its_crew_and_what_may_be_done_and_only_to_its_own_desk(
    world: Any, signed_in: Any
) -> None:
    """F41: another community's desk gets the answer that it would get for no shift at all."""
    shift = _starts_a_shift(signed_in, world.officer("a"))
    seen = signed_in("desk_a").get(f"/api/v1/desk/shifts/{shift['id']}").json
    assert seen["crew"]["call_sign"] == "巡7"
    assert [one["id"] for one in seen["crew"]["members"]] == [seen["officer"]["id"]]
    assert "end" in seen["actions"]
    assert signed_in("desk_b").get(f"/api/v1/desk/shifts/{shift['id']}").status_code == 404


def test_the_auditor_reads_names_where_journal_and_disclosures_keep_ids(world: Any, signed_in: Any) -> None:
    officer = world.officer("a")
    _starts_a_shift(signed_in, officer)
    desk = signed_in("desk_a")
    assert desk.get(f"/api/v1/desk/officers/{officer.id}/trail").status_code == 200
    auditor = signed_in("auditor")
    look = auditor.get("/api/v1/desk/disclosures", subject_id=str(officer.id)).json["items"][0]
    assert (look["kind"], look["subject_id"]) == ("trail", str(officer.id))
    assert look["subject"]
    assert look["by"]
    acts = auditor.get("/api/v1/desk/journal", limit=20).json["items"]
    assert all(one["actor"] for one in acts if one["actor_id"])


def test_who_has_a_rare_status_is_found_without_a_question_for_each_of_the_others(
    world: Any, signed_in: Any
) -> None:
    """F75: a page of one officer is not looked for two officers at a time."""
    for _ in range(6):
        _starts_a_shift(signed_in, world.officer("a"))
    desk, asked = signed_in("desk_a"), []

    def note(*given: Any) -> None:
        asked.append(given[2])

    event.listen(world.engine, "before_cursor_execute", note)
    try:
        page = desk.get("/api/v1/desk/officers", status="moving", limit=1)
    finally:
        event.remove(world.engine, "before_cursor_execute", note)
    assert page.status_code == 200
    assert len([statement for statement in asked if "latest_positions" in statement]) == 1
