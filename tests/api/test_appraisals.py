"""Appraisals and the monthly report through the API: who sees what, objects, decides, and takes the report."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pypdfium2
import pytest
from lxml import etree
from sqlalchemy import select

from backend.core.uow import unit_of_work
from backend.models import AppraisalMonth, Disclosure
from tests.api.conftest import Caller, World
from tests.appraising import DAY, HOUR, drafted, make_missed, make_round, make_shift, month_over
from tests.factories import Person
from tests.rounds import make_checkpoint
from workflows import appraisal_clocks, appraisals

DESK, OFFICER = "/api/v1/desk", "/api/v1/officer"
FORMULA = '=HYPERLINK("http://198.51.100.1","x")'


@pytest.fixture(scope="module")
def month(world: World) -> Iterator[tuple[str, Person]]:
    """A month of an officer of community a with two rounds, of which one ended early for a reason like a formula."""
    officer = world.officer("a")
    with unit_of_work(world.here.id, engine=world.engine) as uow:
        _, at = month_over(uow)
        shift = make_shift(uow, world.here, officer, at)
        make_round(uow, world.here, officer, shift, at + HOUR, visited=1)
        make_round(uow, world.here, officer, shift, at + 2 * HOUR, state="ended_early", reason=FORMULA)
        make_missed(uow, world.here, at + 3 * HOUR, officer)
        make_checkpoint(uow, world.here, code="NEVER-1", created_at=at - DAY)
        make_shift(uow, world.here, beside := world.officer("b"), at, area="b")
        drafted(uow, beside)
        made = drafted(uow, officer)
        name, first = appraisals.word(made.month.month), made.month_id
    with unit_of_work(world.here.id, engine=world.engine) as uow:
        row = uow.session.get_one(AppraisalMonth, first)
        row.completed_at = row.changed_at = uow.now - timedelta(minutes=5)
    while True:
        with unit_of_work(world.here.id, engine=world.engine) as uow:
            if not appraisal_clocks.add_up(uow):
                break
    return name, officer


def listed(caller: Caller, path: str, **query: Any) -> list[Any]:
    answer = caller.get(path, **query)
    assert answer.status_code == 200, answer.text
    return answer.json["items"]


def test_an_officer_sees_and_contests_his_own_and_a_second_person_decides(
    world: World, month: tuple[str, Person], signed_in: Any
) -> None:
    """F41, F51: each look is written down, and the officer reads who looked; another community sees nothing of it."""
    name, officer = month
    his, supervisor = signed_in(officer), signed_in("supervisor_a")
    [own] = listed(his, f"{OFFICER}/appraisals")
    assert (own["month"], own["state"], own["actions"]) == (name, "draft", ["contest"])
    rounds = next(one for one in own["figures"] if one["code"] == "rounds_on_time")
    assert (rounds["numerator"], rounds["denominator"], rounds["name"]["zh-CN"]) == (1, 3, "巡更按时完成率")
    path = f"{OFFICER}/appraisals/{own['id']}"
    first = his.get(f"{path}/inputs", figure="rounds_on_time", limit=2).json
    second = his.get(f"{path}/inputs", figure="rounds_on_time", cursor=first["next"]).json
    inputs = [*first["items"], *second["items"]]
    assert [one["facts"]["state"] for one in inputs] == ["completed", "ended_early", "missed"]
    body = {"input_id": inputs[2]["id"], "reason": "I was at an SOS"}
    assert signed_in("officer_a2").post(f"{path}/contest", body).status_code == 404
    filed = his.post(f"{path}/contest", body)
    assert (filed.status_code, filed.json["actions"]) == (201, ["withdraw"])

    found = listed(supervisor, f"{DESK}/appraisals", month=name)
    assert [one["officer"]["display_name"] for one in found] == sorted(
        one["officer"]["display_name"] for one in found
    )
    assert own["id"] in {one["id"] for one in found}
    assert (
        listed(supervisor, f"{DESK}/appraisals", month=name, sort="-coverage") == found
    )  # There is no other order.
    beside = {one["id"] for one in listed(signed_in("supervisor"), f"{DESK}/appraisals", month=name)}
    beside -= {one["id"] for one in found}
    assert beside
    for other in beside:
        assert supervisor.get(f"{DESK}/appraisals/{other}").status_code == 404
        assert supervisor.get(f"{DESK}/appraisals/{other}/inputs").status_code == 404
    assert signed_in("desk_a").get(f"{DESK}/appraisals", month=name).status_code == 403
    whole = supervisor.get(f"{DESK}/appraisals/{own['id']}").json
    assert (whole["rules"]["version"], whole["actions"]) == ("2026-1", ["exclude"])
    looks = listed(his, f"{OFFICER}/disclosures")
    # Twice in the list of his community, once in that of the town, once by itself.
    assert [(one["kind"], one["reason"]) for one in looks] == [("appraisal", "appraisal")] * 4
    [told] = [one for one in listed(supervisor, f"{DESK}/appraisal-months") if one["month"] == name]
    assert told["waiting"] >= 1

    [waits] = [one for one in listed(supervisor, f"{DESK}/appraisal-contests", month=name, state="open")
               if one["appraisal_id"] == own["id"]]  # fmt: skip
    assert (waits["corrects"], waits["actions"]) == (["on_time"], ["uphold", "refuse"])
    decide = f"{DESK}/appraisal-contests/{waits['id']}"
    wrong = supervisor.post(
        f"{decide}/uphold", {"remedy": "correct", "correction": {"state": "x"}, "reason": "so"}
    )
    assert (wrong.status_code, wrong.json["code"]) == (422, "bad_correction")
    upheld = supervisor.post(f"{decide}/uphold", {"remedy": "exclude", "reason": "he was"})
    assert (upheld.status_code, upheld.json["state"], upheld.json["actions"]) == (200, "upheld", [])
    again = supervisor.post(f"{decide}/refuse", {"reason": "no"})
    assert (again.status_code, again.json["code"]) == (409, "wrong_state")
    [now] = listed(his, f"{OFFICER}/appraisals")
    rounds = next(one for one in now["figures"] if one["code"] == "rounds_on_time")
    assert (rounds["denominator"], rounds["excluded"]) == (2, 1)
    for early in ({"month": "2099-01"}, {"month": name}):
        refused = signed_in("supervisor").post(f"{DESK}/appraisal-months", early)
        assert (refused.status_code, refused.json["code"]) == (
            409,
            "month_begun" if early["month"] == name else "month_not_over",
        )
    assert supervisor.post(f"{DESK}/appraisal-months", {"month": "2010-01"}).status_code == 403
    groups = listed(supervisor, f"{DESK}/appraisal-groups", month=name)
    assert {one["area"]["id"] for one in groups} <= {str(world.here.areas[area]) for area in ("a", "a1")}
    assert len(groups) >= 1


def cells(workbook: bytes) -> tuple[list[str], int]:
    """Texts of all sheets, and how many of their cells are formulas, read without the library that wrote them."""
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        sheets = [
            etree.fromstring(archive.read(name)) for name in archive.namelist() if "worksheets/" in name
        ]
    texts = [element.text or "" for sheet in sheets for element in sheet.iter("{*}t")]
    return texts, sum(1 for sheet in sheets for _ in sheet.iter("{*}f"))


def test_the_monthly_report_is_taken_with_a_reason_as_pages_and_as_a_workbook(
    world: World, month: tuple[str, Person], signed_in: Any
) -> None:
    """F51: who took it and why is written down; what looks like a formula is text, and of other areas nothing."""
    name, officer = month
    supervisor, area = signed_in("supervisor_a"), str(world.here.areas["a"])
    body = {"month": name, "area_id": area, "reason": "for the town"}
    for kind, mimetype in (("pdf", "application/pdf"), ("xlsx", "spreadsheetml.sheet")):
        path = f"{DESK}/monthly-reports/{kind}"
        answer = supervisor.post(path, body)
        assert answer.status_code == 201, answer.text
        assert answer.mimetype.endswith(mimetype)
        assert supervisor.post(path, body | {"area_id": str(world.here.areas["b"])}).status_code == 404
        assert supervisor.post(path, {**body, "area_id": None}).status_code == 404
        assert supervisor.post(path, {"month": name, "area_id": area}).status_code == 422
        assert signed_in("desk_a").post(path, body).status_code == 403
        if kind == "pdf":
            pages = pypdfium2.PdfDocument(answer.data)
            text = "".join(page.get_textpage().get_text_range() for page in pages)
        else:
            texts, formulas = cells(answer.data)
            assert formulas == 0
            assert FORMULA in texts
            text = "\n".join(texts)
        his_name = officer.login.replace(".", " ")
        for expected in ("巡更月报", "NEVER-1", "提前结束", "巡更按时完成率", his_name):
            assert expected in text, (kind, expected)
    english = supervisor.post(f"{DESK}/monthly-reports/xlsx", body | {"locale": "en"})
    assert "Rounds done on time" in cells(english.data)[0]
    with unit_of_work(world.here.id) as uow:
        of_area = Disclosure.subject_id == world.here.areas["a"]
        reasons = uow.session.scalars(select(Disclosure.reason).where(of_area))
        assert list(reasons) == ["for the town"] * 3
        of_him = Disclosure.subject_id == officer.id, Disclosure.kind == "export"
        assert list(uow.session.scalars(select(Disclosure.reason).where(*of_him))) == ["for the town"] * 3
