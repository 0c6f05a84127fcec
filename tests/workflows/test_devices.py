"""Devices: who may give them out, what is kept of their credentials, and when they are shut out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, select

from backend.core import listen
from backend.core.errors import Conflict, Forbidden, NotVisible, WrongState
from backend.core.ids import new_id
from backend.core.tokens import secret_hash
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import DeviceKind, DeviceState, Protocol
from backend.models import Device, DeviceCredential, Journal, QuarantinedFix
from tests import factories
from tests.factories import Person, Town
from workflows import alarms, devices
from workflows.devices import Credential, Shown

TRACKERS = [p for p in Protocol if p is not Protocol.OFFICER]


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"devices-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    """A unit of work in the town."""
    uow.enter_town(town.id)
    return uow


def give(
    uow: UnitOfWork,
    by: Person,
    to: Person,
    protocol: Protocol = Protocol.OSMAND,
    command_id: UUID | None = None,
) -> tuple[Shown, Credential]:
    return devices.create(
        uow,
        by.actor(),
        officer_id=to.id,
        name="备用手机",
        protocol=protocol,
        command_id=command_id or new_id(),
    )


def known(uow: UnitOfWork, credential: Credential) -> Any:
    """Return what the gate finds for a credential."""
    from sqlalchemy import text

    found = uow.session.execute(
        text("select * from device_of_credential(:hash)"), {"hash": secret_hash(credential.key)}
    )
    return found.one_or_none()


def journalled(uow: UnitOfWork, device_id: UUID) -> list[str]:
    uow.session.flush()
    rows = uow.session.scalars(select(Journal).where(Journal.subject_id == device_id).order_by(Journal.id))
    return [row.action for row in rows]


@pytest.mark.parametrize("protocol", TRACKERS)
def test_a_device_opens_the_gate_with_its_credential_alone(
    here: UnitOfWork, town: Town, protocol: Protocol
) -> None:
    shown, credential = give(here, town["supervisor"], town["officer_a"], protocol)
    here.session.flush()
    found = known(here, credential)
    assert (found.device_id, found.officer_id, found.protocol) == (
        shown.device.id,
        town["officer_a"].id,
        protocol,
    )
    assert found.revoked_at is None
    assert known(here, Credential(credential.secret + "x", credential.username)) is None
    if protocol is Protocol.OWNTRACKS:
        assert known(here, Credential(credential.secret, "somebody")) is None
        assert known(here, Credential(credential.secret)) is None


def test_a_credential_is_long_random_and_kept_as_a_hash_alone(here: UnitOfWork, town: Town) -> None:
    made = [give(here, town["supervisor"], town["officer_a"], protocol)[1] for protocol in TRACKERS]
    assert len({credential.secret for credential in made}) == len(TRACKERS)
    assert all(len(credential.secret) * 6 >= 256 for credential in made)
    here.session.flush()
    stored = here.session.scalars(select(DeviceCredential)).all()
    assert {secret_hash(credential.key) for credential in made} <= {row.key_hash for row in stored}
    rows = [{c.name: getattr(row, c.name) for c in row.__table__.columns} for row in stored]
    journal = here.session.scalars(select(Journal)).all()
    rows += [{c.name: getattr(row, c.key, None) for c in row.__table__.columns} for row in journal]
    assert not any(credential.secret in str(rows) for credential in made)


def test_renewing_shuts_the_old_credential_out_and_opens_with_the_new(here: UnitOfWork, town: Town) -> None:
    shown, old = give(here, town["supervisor"], town["officer_a"])
    device, new = devices.renew(here, town["admin"].actor(), shown.device.id, command_id=new_id())
    assert new is not None
    assert new.secret != old.secret
    here.session.flush()
    assert known(here, old).revoked_at == here.now
    assert known(here, new).revoked_at is None
    assert device.device.state == DeviceState.ACTIVE
    assert journalled(here, shown.device.id) == ["create", "renew"]


def test_revoking_shuts_a_device_out_for_good(here: UnitOfWork, town: Town) -> None:
    shown, credential = give(here, town["supervisor"], town["officer_a"])
    assert shown.actions == ["renew", "revoke"]
    revoked = devices.revoke(
        here, town["supervisor"].actor(), shown.device.id, command_id=new_id(), reason="lost"
    )
    assert (revoked.device.state, revoked.device.revoked_at) == (DeviceState.REVOKED, here.now)
    assert revoked.actions == []
    here.session.flush()
    assert known(here, credential).state == DeviceState.REVOKED
    with pytest.raises(WrongState) as refused:
        devices.renew(here, town["supervisor"].actor(), shown.device.id, command_id=new_id())
    assert refused.value.extra == {"current": "revoked", "actions": []}
    with pytest.raises(WrongState):
        devices.revoke(here, town["supervisor"].actor(), shown.device.id, command_id=new_id())
    assert journalled(here, shown.device.id) == ["create", "revoke"]


def test_the_same_command_renews_and_revokes_once(here: UnitOfWork, town: Town) -> None:
    shown, _ = give(here, town["supervisor"], town["officer_a"])
    actor, key = town["supervisor"].actor(), new_id()
    assert devices.renew(here, actor, shown.device.id, command_id=key)[1] is not None
    here.session.flush()
    assert devices.renew(here, actor, shown.device.id, command_id=key)[1] is None
    key = new_id()
    devices.revoke(here, actor, shown.device.id, command_id=key)
    here.session.flush()
    assert devices.revoke(here, actor, shown.device.id, command_id=key).device.state == DeviceState.REVOKED
    assert journalled(here, shown.device.id) == ["create", "renew", "revoke"]


@pytest.mark.parametrize("act", [devices.renew, devices.revoke])
def test_shutting_out_is_announced_with_the_commit(
    here: UnitOfWork, town: Town, act: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Any]] = []
    monkeypatch.setattr(UnitOfWork, "notify", lambda self, channel, payload: told.append((channel, payload)))
    shown, _ = give(here, town["supervisor"], town["officer_a"])
    assert told == []
    act(here, town["supervisor"].actor(), shown.device.id, command_id=new_id())
    assert told == [(listen.DEVICES, {"device_id": str(shown.device.id)})]


@pytest.mark.parametrize("who", ["desk_a", "officer_a", "auditor", "resident", "handler"])
def test_others_give_out_and_see_no_devices(here: UnitOfWork, town: Town, who: str) -> None:
    shown, _ = give(here, town["supervisor"], town["officer_a"])
    actor = town[who].actor()
    with pytest.raises(Forbidden):
        give(here, town[who], town["officer_a"])
    with pytest.raises(Forbidden):
        devices.see(here, actor, shown.device.id)
    with pytest.raises(Forbidden):
        devices.in_scope(here, actor)
    with pytest.raises(Forbidden):
        devices.renew(here, actor, shown.device.id, command_id=new_id())
    with pytest.raises(Forbidden):
        devices.revoke(here, actor, shown.device.id, command_id=new_id())


def test_a_supervisor_of_one_community_sees_nothing_of_anothers(here: UnitOfWork, town: Town) -> None:
    ours, _ = give(here, town["supervisor"], town["officer_a"])
    theirs, _ = give(here, town["supervisor"], town["officer_b"])
    actor = town["supervisor_a"].actor()
    assert devices.see(here, actor, ours.device.id).device.id == ours.device.id
    assert {one.device.id for one in devices.in_scope(here, actor).items} == {ours.device.id}
    for refused in (
        lambda: devices.see(here, actor, theirs.device.id),
        lambda: devices.renew(here, actor, theirs.device.id, command_id=new_id()),
        lambda: devices.revoke(here, actor, theirs.device.id, command_id=new_id()),
        lambda: give(here, town["supervisor_a"], town["officer_b"]),
        lambda: give(here, town["supervisor_a"], town["resident"]),
        lambda: devices.see(here, actor, new_id()),
    ):
        with pytest.raises(NotVisible):
            refused()


def test_the_list_pages_and_filters(here: UnitOfWork, town: Town) -> None:
    actor = town["supervisor"].actor()
    made = [give(here, town["supervisor"], town["officer_a"])[0].device for _ in range(5)]
    other, _ = give(here, town["supervisor"], town["officer_b"])
    devices.revoke(here, actor, made[0].id, command_id=new_id())
    here.session.flush()
    seen: list[UUID] = []
    after: Any = None
    while True:
        page = devices.in_scope(here, actor, officer_id=town["officer_a"].id, after=after, limit=2)
        seen += [one.device.id for one in page.items]
        if page.after is None:
            break
        after = [part.isoformat() if hasattr(part, "isoformat") else str(part) for part in page.after]
    assert seen == sorted((device.id for device in made), reverse=True)
    revoked = devices.in_scope(here, actor, state=DeviceState.REVOKED)
    assert [one.device.id for one in revoked.items] == [made[0].id]
    assert other.device.id in {one.device.id for one in devices.in_scope(here, actor).items}


def test_an_officers_own_phone_has_no_credential_and_can_be_shut_out(here: UnitOfWork, town: Town) -> None:
    actor = town["supervisor"].actor()
    with pytest.raises(Conflict) as refused:
        give(here, town["supervisor"], town["officer_a"], Protocol.OFFICER)
    assert refused.value.code == "protocol_without_credential"
    phone = Device(
        id=new_id(),
        town_id=town.id,
        officer_id=town["officer_a"].id,
        kind=DeviceKind.PHONE,
        protocol=Protocol.OFFICER,
        name="phone",
        datum="wgs84",
        state=DeviceState.ACTIVE,
        created_at=here.now,
        version=1,
    )
    here.session.add(phone)
    here.session.flush()
    assert devices.see(here, actor, phone.id).actions == ["revoke"]
    with pytest.raises(Conflict):
        devices.renew(here, actor, phone.id, command_id=new_id())
    assert devices.revoke(here, actor, phone.id, command_id=new_id()).device.state == DeviceState.REVOKED


def test_an_officer_has_a_bounded_number_of_active_devices(here: UnitOfWork, town: Town) -> None:
    made = [give(here, town["supervisor"], town["officer_a2"])[0] for _ in range(devices.MOST_ACTIVE)]
    with pytest.raises(Conflict) as refused:
        give(here, town["supervisor"], town["officer_a2"])
    assert refused.value.code == "too_many_devices"
    devices.revoke(here, town["supervisor"].actor(), made[0].device.id, command_id=new_id())
    give(here, town["supervisor"], town["officer_a2"])


def test_presses_without_end_are_bounded_and_a_first_one_is_never_one_too_many(
    here: UnitOfWork, town: Town
) -> None:
    """A stuck button yesterday takes nobody's call for help from him today."""
    device = give(here, town["supervisor"], town["officer_a"])[0].device

    def press(bounded: bool) -> UUID | None:
        here.now += timedelta(seconds=1)
        written = devices.record_alarm(
            here, device_id=device.id, officer_id=device.officer_id, protocol=device.protocol, word="sos",
            device_at=here.now, raw={}, fix_stored=True, bounded=bounded,
        )  # fmt: skip
        here.session.flush()
        return written

    lon, lat = town.place()
    assert not alarms.tracker_pressed_again(here, device.officer_id, place=None)
    first = press(bounded=False)
    assert first is not None
    call = alarms.tracker_call(
        here, device.officer_id, command_id=first, place=None, device_at=here.now, word="sos"
    )
    assert call is not None
    told = [press(bounded=True) for _ in range(8)]
    assert None not in told[:4]
    assert told[4:] == [None] * 4
    there = alarms.Place(lon, lat, 5.0, here.now)
    assert alarms.tracker_pressed_again(here, device.officer_id, place=there), (
        "it stands, and takes the place"
    )
    place = alarms.place_of(alarms.read(here, call.id))
    assert place is not None
    assert round(place.lon, 6) == round(lon, 6)
    alarms.dismiss(here, town["desk_a"].actor(), call.id, reason="误触", command_id=new_id())
    assert not alarms.tracker_pressed_again(here, device.officer_id, place=there)
    assert press(bounded=False) is not None


def test_an_alarm_is_written_down_once_and_kept_whole_where_no_fix_is(here: UnitOfWork, town: Town) -> None:
    shown, _ = give(here, town["supervisor"], town["officer_a"])
    device = shown.device
    alarm = {
        "device_id": device.id,
        "officer_id": device.officer_id,
        "protocol": device.protocol,
        "word": "sos",
        "device_at": here.now,
        "raw": {"alarm": "sos", "lat": "31.1", "lon": "121.3"},
        "fix_stored": False,
        "bounded": True,
    }
    assert devices.record_alarm(here, **alarm) is not None
    here.session.flush()
    assert devices.record_alarm(here, **alarm) is None
    here.session.flush()
    (entry,) = here.session.scalars(select(Journal).where(Journal.action == "alarm"))
    (kept,) = here.session.scalars(select(QuarantinedFix).where(QuarantinedFix.device_id == device.id))
    assert entry.data == {"alarm": "sos", "fix_stored": False, "quarantined_fix_id": str(kept.id)}
    assert entry.actor_id == town["officer_a"].id
    assert (kept.reason, kept.payload) == ("alarm", alarm["raw"])


def test_the_table_of_a_device_is_the_whole_of_its_life() -> None:
    assert [(s.action, s.target) for s in devices.DEVICE.steps] == [
        ("renew", DeviceState.ACTIVE),
        ("revoke", DeviceState.REVOKED),
    ]
