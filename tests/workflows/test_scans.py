"""Scans: what a code that was read is worth, and that no doubtful one is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from backend.core.errors import Conflict, NotVisible
from backend.core.ids import new_id
from backend.core.uow import UnitOfWork
from backend.models import Checkpoint, Visit, VisitWatch
from tests import factories
from tests.dispatching import on_shift
from tests.factories import Town
from tests.rounds import bring, make_checkpoint, make_patrol, make_phone, north_of, tapped, walked
from workflows import patrols, scans, visit_watch, visits
from workflows.alarms import Place
from workflows.scans import Code

SECRET = b"\x05" * 32
UID = "04DE5F1EACC040"
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"scans-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    uow.enter_town(town.id)
    return uow


@pytest.fixture
def gate(here: UnitOfWork, town: Town) -> Checkpoint:
    made = make_checkpoint(here, town, tag_uid=UID, tag_signs=True)
    here.session.refresh(made)
    return made


def scan(
    uow: UnitOfWork, town: Town, token: str, *, who: str = "officer_a", north_m: float | None = 3.0,
    said: dict[str, str] | None = None, **more: Any,
) -> Visit:  # fmt: skip
    """Read a code so many metres north of the gate."""
    place = None if north_m is None else Place(*north_of(town, north_m), 8.0, uow.now)
    given = {"place": place, "tag_secret": SECRET, "command_id": new_id(), **more}
    return scans.scan(uow, town[who].actor(), Code(token, **(said or {})), **given)


def test_a_tag_that_signs_proves_more_than_a_plain_one_and_that_more_than_a_label(
    here: UnitOfWork, town: Town, gate: Checkpoint
) -> None:
    on_shift(here, town, town["officer_a"])
    picc_data, cmac = tapped(SECRET, UID, 5)
    signed = scan(here, town, gate.tag_token, said={"picc_data": picc_data, "cmac": cmac})
    assert (signed.flags, gate.tag_counter) == ([], 5)
    gate.tag_signs, gate.tag_counter = False, None
    here.now += 2 * MINUTE
    plain, label = scan(here, town, gate.tag_token), scan(here, town, gate.label_token)
    assert [v.method for v in (signed, plain, label)] == ["nfc_signed", "nfc", "qr"]
    assert signed.proof > plain.proof > label.proof


def test_an_unknown_code_another_towns_and_one_out_of_use_are_nobodys(
    here: UnitOfWork, town: Town, gate: Checkpoint
) -> None:
    on_shift(here, town, town["officer_a"])
    gate.retired_at = here.now
    here.session.flush()
    for token in (gate.label_token, gate.tag_token, "x" * 32):
        with pytest.raises(NotVisible):
            scan(here, town, token)


def test_off_shift_nothing_is_scanned(here: UnitOfWork, town: Town, gate: Checkpoint) -> None:
    """P21: a scan says where somebody is, so it is taken on shift alone."""
    with pytest.raises(Conflict, match="Start a shift"):
        scan(here, town, gate.label_token)


@pytest.mark.parametrize(
    ("said", "flag"),
    [
        ({}, "tag_unsigned"),
        ({"picc_data": "00" * 16, "cmac": "00" * 8}, "tag_unsigned"),
        (dict(zip(("picc_data", "cmac"), tapped(SECRET, "04DE5F1EACC041", 5), strict=True)), "tag_unsigned"),
    ],
)
def test_what_a_tag_did_not_sign_is_kept_and_flagged(
    here: UnitOfWork, town: Town, gate: Checkpoint, said: dict[str, str], flag: str
) -> None:
    on_shift(here, town, town["officer_a"])
    visit = scan(here, town, gate.tag_token, said=said)
    assert (visit.method, visit.flags) == ("nfc", [flag, "unseen"])


def test_a_reading_that_came_before_is_a_copy_and_a_lower_one_that_came_late_is_none(
    here: UnitOfWork, town: Town, gate: Checkpoint
) -> None:
    for name in ("officer_a", "officer_a2"):
        on_shift(here, town, town[name])
    read = {n: dict(zip(("picc_data", "cmac"), tapped(SECRET, UID, n), strict=True)) for n in (8, 9)}
    assert scan(here, town, gate.tag_token, said=read[9]).flags == []
    here.session.flush()
    late = scan(here, town, gate.tag_token, who="officer_a2", said=read[8])
    assert (late.method, late.flags, gate.tag_counter) == ("nfc_signed", [], 9)
    here.now += 5 * MINUTE
    copied = scan(here, town, gate.tag_token, who="officer_a2", said=read[9])
    assert (copied.method, copied.flags) == ("nfc", ["tag_repeated", "unseen"])


def test_a_label_read_at_home_is_flagged_by_the_place_and_without_one_by_the_missing_track(
    here: UnitOfWork, town: Town, gate: Checkpoint
) -> None:
    on_shift(here, town, town["officer_a"])
    assert scan(here, town, gate.label_token, north_m=900.0).flags == ["elsewhere", "unseen"]
    here.now += 5 * MINUTE
    assert scan(here, town, gate.label_token, north_m=None).flags == ["unseen"]
    here.now += 5 * MINUTE
    assert scan(here, town, gate.label_token, is_mock=True).flags == ["mock", "unseen"]


def test_a_scan_is_judged_again_when_the_track_of_its_time_comes_in(
    here: UnitOfWork, town: Town, gate: Checkpoint
) -> None:
    shift = on_shift(here, town, town["officer_a"])
    at = here.now
    here.session.add(VisitWatch(town_id=town.id, looked_until=at - MINUTE))
    phone = make_phone(here, town, town["officer_a"])
    here.now = at + 100 * timedelta(seconds=1)
    scanned = scan(here, town, gate.label_token, device_at=at + 70 * timedelta(seconds=1), device_id=phone)
    before = scanned.proof
    assert scanned.flags == ["unseen"]
    walk = walked(town, at, (0.0, 40.0), (120.0, 10.0))
    bring(here, town, phone, shift.id, walk, received_at=at + 3 * MINUTE)
    here.now = at + 4 * MINUTE
    visit_watch.look(here)
    again = here.session.scalars(select(Visit).where(Visit.id == scanned.id)).one()
    assert again.flags == []
    assert again.proof > before + 20


def test_two_presses_within_a_minute_are_one_visit_and_it_counts_for_the_patrol(
    here: UnitOfWork, town: Town
) -> None:
    patrol = make_patrol(here, town)
    on_shift(here, town, town["officer_a"])
    patrols.start(here, town["officer_a"].actor(), patrol.id, command_id=new_id())
    checkpoint = patrol.points[0].checkpoint
    here.session.refresh(checkpoint)
    first = scan(here, town, checkpoint.label_token)
    assert scan(here, town, checkpoint.label_token).id == first.id
    point = patrols.read(here, patrol.id).points[0]
    assert (visits.state_of(point), point.visit_id) == ("visited", first.id)


def test_somebody_elses_device_is_not_the_one_that_has_read_it(
    here: UnitOfWork, town: Town, gate: Checkpoint
) -> None:
    on_shift(here, town, town["officer_a"])
    own, others = make_phone(here, town, town["officer_a"]), make_phone(here, town, town["officer_a2"])
    assert scan(here, town, gate.label_token, device_id=others).device_id is None
    here.now += 5 * MINUTE
    assert scan(here, town, gate.label_token, device_id=own).device_id == own
