"""Photos at the points of a round, and a whole round that is sent late, in pieces and more than once."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from backend.core.ids import new_id
from backend.core.uow import unit_of_work
from backend.models import Evidence, Journal, PatrolPoint, Visit
from tests.api.conftest import World
from tests.api.test_uploads import Beat, announced, examined, sealed
from tests.factories import Person
from tests.photos import UPLOADS, photo
from tests.rounds import make_checkpoint, make_patrol, make_route

PATROLS, SEEN = "/api/v1/officer/patrols", "/api/v1/desk/patrols"
SHOWN = {"zh-CN": "拍照", "en": "Show it"}
PHOTO = {"id": "meter", "text": SHOWN, "answer": "photo", "choices": [], "required": True}
LIT = {"id": "lit", "text": SHOWN, "answer": "yes_no", "choices": [], "required": True}


@pytest.fixture
def duty(world: World, signed_in: Any) -> Beat:
    return Beat(world, signed_in)


def planned(world: World, person: Person) -> tuple[str, list[str]]:
    """A patrol of two points that somebody may begin now, whose first asks for a photo."""
    with unit_of_work(world.here.id) as uow:
        made = make_patrol(uow, world.here, people=[person])
        made.points[0].checkpoint.questions = [PHOTO]
        return str(made.id), [str(point.checkpoint_id) for point in made.points]


def test_a_point_shows_the_desk_what_its_officer_took_there_and_nothing_else(
    world: World, duty: Beat, signed_in: Any
) -> None:
    """F41, F50: a question that asks for photos is answered by one's own, also while they are on the phone."""
    patrol_id, (first, second) = planned(world, duty.person)
    assert duty.phone.post(f"{PATROLS}/{patrol_id}/start", {}).status_code == 200
    at = f"{PATROLS}/{patrol_id}/points/{first}/answer"
    theirs, mine, late = sealed(world, Beat(world, signed_in).phone), sealed(world, duty.phone), uuid.uuid4()

    def said(*ids: Any, where: str = at, **more: Any) -> Any:
        answers = {"meter": [str(one) for one in ids]} if where == at else {}
        return duty.phone.post(where, {"answers": answers, **more})

    for wrong in ([], ["photo.jpg"], [mine, mine], [uuid.uuid4() for _ in range(7)]):
        assert (refused := said(*wrong)).status_code == 422, wrong
        assert refused.json["errors"] == {"answers": ["meter"]}
    for stolen in (said(theirs), said(mine, evidence_ids=[str(theirs)])):
        assert (stolen.status_code, stolen.json["code"]) == (422, "not_your_evidence")
    assert duty.desk.get(f"/api/v1/desk/evidence/{mine}").status_code == 404, "nothing shows it yet"
    assert duty.desk.get(f"{SEEN}/{patrol_id}/evidence").json["items"] == []

    shown = said(mine).json
    assert (shown["points"][0]["evidence_ids"], shown["points"][1]["evidence_ids"]) == ([str(mine)], [])
    # Said anew and with one that is still on the phone: what was shown goes on being shown.
    other = f"{PATROLS}/{patrol_id}/points/{second}/answer"
    assert said(late, evidence_ids=[str(uuid.uuid4())]).status_code == 200
    assert said(where=other, evidence_ids=[str(late)]).json["points"][1]["evidence_ids"] == [], "named once"
    listed = duty.desk.get(f"{SEEN}/{patrol_id}/evidence").json["items"]
    assert {(one["of"], one["checkpoint_id"]) for one in listed} == {("point", first)}
    assert {one["id"]: one["evidence"] and one["evidence"]["state"] for one in listed}[str(mine)] == "sealed"
    assert [one["evidence"] for one in listed if one["id"] == str(late)] == [None]
    assert duty.desk.get(f"/api/v1/desk/evidence/{mine}/preview").status_code == 200
    elsewhere = signed_in("desk_b")
    for path in (f"{SEEN}/{patrol_id}/evidence", f"/api/v1/desk/evidence/{mine}"):
        assert elsewhere.get(path).status_code == 404, path
    desk_point = duty.desk.get(f"{SEEN}/{patrol_id}").json["points"][0]
    assert desk_point["answers"] == {"meter": [str(late)]}
    assert len(desk_point["evidence_ids"]) == 3
    many = [said(where=other, evidence_ids=[str(uuid.uuid4()) for _ in range(20)]) for _ in range(3)]
    assert [one.status_code for one in many] == [200, 200, 422], "40 at most of a point"
    # What a task asks is not shown by photos: its result names them.
    kind = {"code": f"k{uuid.uuid4().hex[:8]}", "name": SHOWN, "questions": [PHOTO]}
    assert signed_in("admin").post("/api/v1/desk/task-kinds", kind).status_code == 422


@st.composite
def deliveries(draw: st.DrawFn, presses: int, photos: int) -> list[tuple[str, int]]:
    """What a phone sends, piece by piece: presses in their order, photos in any, and anything once more later."""
    left = [("photo", n) for n in range(photos)] * draw(st.integers(1, 2))
    sent: list[tuple[str, int]] = []
    pressed = 0
    while pressed < presses or left:
        choices = ["press"] * (pressed < presses) + ["photo"] * bool(left) + ["again"] * bool(sent)
        match draw(st.sampled_from(choices)):
            case "press":
                sent.append(("press", pressed))
                pressed += 1
            case "photo":
                sent.append(left.pop(draw(st.integers(0, len(left) - 1))))
            case _:
                sent.append(sent[draw(st.integers(0, len(sent) - 1))])
                if len(sent) > 2 * (presses + photos):
                    break
    sent += [("press", n) for n in range(pressed, presses)] + left
    return sent


def stored_once(world: World, ids: Sequence[uuid.UUID], patrol_id: str) -> tuple[list[Any], list[Any], int]:
    """What the journal says of a patrol with the phone's own times, the patrol's visits, and how many photos came."""
    with unit_of_work(world.here.id) as uow:
        told = select(Journal.action, Journal.device_at).where(
            Journal.subject_id == uuid.UUID(patrol_id), Journal.actor_id.is_not(None)
        )
        lines = [tuple(row) for row in uow.session.execute(told.order_by(Journal.at, Journal.id))]
        points = select(PatrolPoint.checkpoint_id).where(PatrolPoint.patrol_id == uuid.UUID(patrol_id))
        visits = uow.session.scalars(select(Visit).where(Visit.checkpoint_id.in_(points))).all()
        photos = uow.session.scalars(select(Evidence.id).where(Evidence.id.in_(ids))).all()
        return lines, [(visit.method, visit.arrived_at) for visit in visits], len(photos)


@settings(
    max_examples=5, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent=deliveries(6, 2))
def test_a_round_that_was_gone_offline_is_stored_once_in_the_order_of_the_phone(
    world: World, duty: Beat, sent: list[tuple[str, int]]
) -> None:
    """However often a piece comes, and whatever comes between: a scan, answers with photos, a skip, the end."""
    world.app.extensions["xungeng.limits"]._limiter.storage.reset()
    with unit_of_work(world.here.id) as uow:
        points = [make_checkpoint(uow, world.here, north_m=200.0 * n, questions=[LIT]) for n in range(2)]
        route = make_route(uow, world.here, points)
        route_id, label = str(route.id), points[0].label_token
    first, second = (str(point.id) for point in points)
    patrol_id, before, after = (str(new_id()) for _ in range(3))
    begun_at = datetime.now(UTC)
    own = f"{PATROLS}/{patrol_id}"
    presses: list[tuple[str, dict[str, Any]]] = [
        (PATROLS, {"route_id": route_id, "patrol_id": patrol_id}),
        (f"{own}/points/{first}/answer", {"answers": {"lit": False}, "evidence_ids": [before]}),
        ("/api/v1/officer/visits", {"token": label}),
        (f"{own}/points/{first}/answer", {"answers": {"lit": True}, "evidence_ids": [after]}),
        (f"{own}/points/{second}/skip", {"reason": "施工封闭"}),
        (f"{own}/finish", {}),
    ]
    # A phone's clock counts milliseconds; the server's moment is later than any of these.
    moments = [begun_at + timedelta(milliseconds=n) for n in range(len(presses))]
    keys = [uuid.uuid4() for _ in presses]
    pictures = {uuid.UUID(one): photo(64, 48, seed=n) for n, one in enumerate((before, after))}

    for what, n in sent:
        if what == "press":
            path, body = presses[n]
            answer = duty.phone.post(path, body | {"device_at": moments[n].isoformat()}, key=keys[n])
            assert answer.status_code in (200, 201), (path, answer.text)
        else:
            photo_id, data = list(pictures.items())[n]
            duty.phone.send("POST", UPLOADS, data=data, headers=announced(photo_id, data))
    for photo_id in pictures:
        examined(world, photo_id)

    lines, visits, photos = stored_once(world, list(pictures), patrol_id)
    acts = ["start", "answer", "answer", "skip", "finish"]
    assert [line for line in lines if line[0] in acts] == list(
        zip(acts, [moments[n] for n in (0, 1, 3, 4, 5)], strict=True)
    )
    assert (visits, photos) == ([("qr", moments[2])], 2)
    over = duty.desk.get(f"{SEEN}/{patrol_id}").json
    assert (over["state"], [one["state"] for one in over["points"]]) == ("completed", ["visited", "skipped"])
    assert (over["points"][0]["answers"], over["points"][0]["evidence_ids"]) == (
        {"lit": True},
        [before, after],
    )
    shown = duty.desk.get(f"{SEEN}/{patrol_id}/evidence").json["items"]
    assert [one["evidence"]["state"] for one in shown] == ["sealed", "sealed"]
