"""Notices at the API: one's own, by which way one is reached, and the dead letters of one's areas."""

from __future__ import annotations

import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, text

from backend.core.notice_settings import NoticeSettings
from backend.core.uow import unit_of_work
from backend.core.vocabulary import NoticeChannel, NoticeKind
from backend.models import Journal
from notifications import delivering, outbox, reach
from tests.api.conftest import Caller, World
from tests.factories import Person
from tests.notifications.conftest import everything

K = NoticeKind
KINDS = {"officer": K.TASK_OFFERED, "desk": K.ALARM_RAISED, "resident": K.SOS_ANSWERED}
PEOPLE = {"officer": "officer_a", "desk": "desk_a", "resident": "resident"}
OTHERS = {"officer": "officer_b", "desk": "desk_b", "resident": "resident2"}
audiences = pytest.mark.parametrize("audience", sorted(KINDS))
KEYS = {
    "p256dh": urlsafe_b64encode(b"\4" + bytes(64)).decode().rstrip("="),
    "auth": urlsafe_b64encode(bytes(16)).decode().rstrip("="),
}
ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/"


@pytest.fixture(autouse=True)
def _channels(world: World, tmp_path: Any) -> Iterator[None]:
    reach.use(everything(vapid_key=tmp_path / "secrets" / "vapid.pem"))
    yield
    reach.use(NoticeSettings())


@pytest.fixture
def call(world: World) -> Any:
    """``call("officer")``: somebody of the audience, signed in by whatever way he signs in."""
    from tests.api.test_isolation import _caller

    return lambda audience, people=PEOPLE, town=world.here: _caller(world, town[people[audience]])


def tell(world: World, person: Person, kind: NoticeKind, **params: Any) -> str:
    """Tell a person something, committed."""
    given = {"number": 7} if "number" in outbox.RULES[kind].needs else {}
    with unit_of_work(person.town_id) as uow:
        [made] = outbox.enqueue(
            uow, kind, to=[person.id], subject=("task", uuid.uuid4()), params={**given, **params}
        )
    return str(made)


def forget(world: World, person: Person) -> None:
    with world.owner.begin() as connection:
        for table, column in (("notices", "recipient_id"), ("addresses", "user_id")):
            connection.execute(text(f"delete from {table} where {column} = :id"), {"id": person.id})


@audiences
def test_one_reads_and_confirms_ones_own_and_nobody_elses(world: World, call: Any, audience: str) -> None:
    """F40, F41: lists, counts, reads and confirmations of another person are as if there were nothing."""
    me, other, base = call(audience), call(audience, OTHERS), f"/api/v1/{audience}"
    person = world.here[PEOPLE[audience]]
    forget(world, person)
    first, second = (tell(world, person, KINDS[audience], place="东门") for _ in range(2))
    listed = me.get(f"{base}/notices").json["items"]
    assert [one["id"] for one in listed] == [second, first]
    assert listed[0]["params"]["place"] == "东门"
    assert "东门" in listed[0]["body"]
    assert listed[0]["needs_confirmation"] is True
    assert listed[0]["actions"] == ["read", "confirm"]
    assert me.get(f"{base}/notices/unread").json == {"unread": 2}

    assert first not in other.get(f"{base}/notices").text
    assert other.post(f"{base}/notices/{first}/confirm").status_code == 404
    other.post(f"{base}/notices/read", {"ids": [first, second]})
    assert me.get(f"{base}/notices/unread").json == {"unread": 2}

    assert me.post(f"{base}/notices/read", {"ids": [first, str(uuid.uuid4())]}).json == {"unread": 1}
    [left] = me.get(f"{base}/notices", unread="true").json["items"]
    assert left["id"] == second
    key = uuid.uuid4()
    for _ in range(2):
        confirmed = me.post(f"{base}/notices/{second}/confirm", key=key)
        assert confirmed.status_code == 200
        assert confirmed.json["confirmed_at"]
        assert confirmed.json["actions"] == []
    assert me.get(f"{base}/notices/unread").json == {"unread": 0}


@audiences
def test_all_that_was_seen_is_read_by_one_press_and_what_came_meanwhile_is_not(
    world: World, call: Any, audience: str
) -> None:
    """F40: nobody else's is read with it."""
    me, other, base = call(audience), call(audience, OTHERS), f"/api/v1/{audience}/notices"
    mine, theirs = world.here[PEOPLE[audience]], world.here[OTHERS[audience]]
    forget(world, mine)
    forget(world, theirs)
    for person in (mine, mine, theirs):
        tell(world, person, KINDS[audience])
    newest = me.get(base).json["items"][0]["id"]
    later = tell(world, mine, KINDS[audience])
    assert me.post(f"{base}/read", {"until": newest}).json == {"unread": 1}
    assert [one["id"] for one in me.get(base, unread="true").json["items"]] == [later]
    assert other.get(f"{base}/unread").json == {"unread": 1}
    assert other.post(f"{base}/read", {"until": later}).json == {"unread": 1}, "it is not one's own"
    for wrong in ({}, {"ids": [later], "until": newest}, {"until": "yesterday"}, {"ids": []}):
        assert me.post(f"{base}/read", wrong).status_code == 422, wrong
    assert me.get(f"{base}/unread").json == {"unread": 1}


@audiences
def test_the_list_pages(world: World, call: Any, audience: str) -> None:
    me, base = call(audience), f"/api/v1/{audience}/notices"
    forget(world, world.here[PEOPLE[audience]])
    made = [tell(world, world.here[PEOPLE[audience]], KINDS[audience]) for _ in range(5)]
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = me.get(base, limit=2, **cursor).json
        found += [one["id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert found == made[::-1]
    assert me.get(base, cursor="x").status_code == 422


@audiences
def test_one_chooses_channels_and_quiet_hours(world: World, call: Any, audience: str) -> None:
    me, path = call(audience), f"/api/v1/{audience}/notice-settings"
    kind = str(KINDS[audience])
    wanted = {"channels": {kind: ["sms"]}, "quiet_from": "22:00", "quiet_until": "06:30"}
    answer = me.send("PUT", path, wanted)
    assert answer.status_code == 200, answer.text
    with unit_of_work(world.here.id) as uow:
        act = uow.session.scalars(
            select(Journal)
            .where(Journal.actor_id == world.here[PEOPLE[audience]].id)
            .order_by(Journal.at.desc())
        ).first()
        assert act is not None
        assert (act.action, act.data) == ("choose_notices", {"channels": {kind: ["sms"]}, "quiet": True})
    seen = me.get(path).json
    assert {name: seen[name] for name in wanted} == wanted
    assert "sos.raised" in seen["fixed"]
    assert "wecom_robot" not in seen["available"]
    assert kind in seen["kinds"]
    assert ("task.accepted" in seen["kinds"]) == (audience == "desk"), "kinds of others are no choice"
    for wrong in (
        {**wanted, "quiet_until": None},
        {**wanted, "quiet_until": "22:00"},
        {**wanted, "channels": {"task.invented": []}},
        {**wanted, "channels": {kind: ["pigeon"]}},
        {**wanted, "quiet_from": "25:00"},
    ):
        assert me.send("PUT", path, wrong).status_code == 422, wrong
    assert {name: me.get(path).json[name] for name in wanted} == wanted


@audiences
def test_a_browser_is_reached_for_as_long_as_its_session_and_nobody_elses(
    world: World, call: Any, audience: str
) -> None:
    """F40, F76: an endpoint is called only where it is a push service's."""
    me, other, base = call(audience), call(audience, OTHERS), f"/api/v1/{audience}"
    forget(world, world.here[PEOPLE[audience]])
    set_up = me.get(f"{base}/reach").json
    assert len(set_up["webpush_key"]) == 87
    assert set_up["channels"] == ["fcm", "webpush", "wechat_mini", "wechat_service"]
    mine = {"channel": "webpush", "token": ENDPOINT + uuid.uuid4().hex, "keys": KEYS}
    made = me.post(f"{base}/addresses", mine)
    assert made.status_code == 201, made.text
    assert made.json["this_session"] is True
    assert "token" not in made.json
    assert [a["id"] for a in me.get(f"{base}/addresses").json["items"]] == [made.json["id"]]
    assert made.json["id"] not in other.get(f"{base}/addresses").text
    assert other.post(f"{base}/addresses/{made.json['id']}/end").status_code == 404
    for wrong in (
        {**mine, "token": "http://169.254.169.254/latest/meta-data"},
        {**mine, "token": "https://127.0.0.1/push"},
        {**mine, "token": "https://updates.push.services.mozilla.com.evil.example/x"},
        {**mine, "token": "https://updates.push.services.mozilla.com:8443/x"},
        {**mine, "token": "https://me@updates.push.services.mozilla.com/x"},
        {**mine, "keys": None},
        {**mine, "keys": {**KEYS, "auth": "AAAA"}},
        {"channel": "fcm", "token": "a b"},
        {"channel": "wecom", "token": "zhang"},
        {"channel": "sms", "token": "13800000000"},
        {"channel": "email", "token": "a@example.cn"},
        {"channel": "wecom_robot", "token": "x"},
    ):
        answer = me.post(f"{base}/addresses", wrong)
        assert answer.status_code in (409, 422), (wrong, answer.text)
    assert me.post(f"{base}/addresses/{made.json['id']}/end").status_code == 204
    assert me.get(f"{base}/addresses").json["items"] == []
    again = me.post(f"{base}/addresses", mine)
    assert again.status_code == 201, "the browser may come back"
    with world.owner.connect() as connection:
        actions = connection.execute(
            text("select action, data::text from journal where subject_id = :id order by id"),
            {"id": made.json["id"]},
        ).all()
    assert [row.action for row in actions] == ["register", "end", "register"]
    assert not any("mozilla" in row.data for row in actions)


def test_a_phone_that_changes_hands_is_the_new_ones(world: World, call: Any) -> None:
    phone = {"channel": "fcm", "token": "fid-" + uuid.uuid4().hex}
    first, second = call("officer"), call("officer", OTHERS)
    made = first.post("/api/v1/officer/addresses", phone).json["id"]
    assert second.post("/api/v1/officer/addresses", phone).json["id"] == made
    assert made not in first.get("/api/v1/officer/addresses").text


def test_the_oldest_of_too_many_addresses_goes(world: World, call: Any) -> None:
    me = call("officer")
    forget(world, world.here["officer_a"])
    made = [
        me.post("/api/v1/officer/addresses", {"channel": "fcm", "token": f"fid-{uuid.uuid4().hex}"}).json[
            "id"
        ]
        for _ in range(11)
    ]
    assert [a["id"] for a in me.get("/api/v1/officer/addresses").json["items"]] == made[:0:-1]


def test_what_is_not_set_up_is_told(world: World, call: Any) -> None:
    reach.use(NoticeSettings())
    me = call("officer")
    set_up = me.get("/api/v1/officer/reach").json
    assert set_up == {"webpush_key": None, "channels": [], "wechat_templates": []}
    answer = me.post("/api/v1/officer/addresses", {"channel": "fcm", "token": "fid-1234567890"})
    assert (answer.status_code, answer.json["code"]) == (409, "channel_not_set_up")


def test_wechats_credits_are_counted_by_template(world: World, call: Any) -> None:
    me = call("resident")
    asked = me.get("/api/v1/resident/reach").json["wechat_templates"]
    assert {one["kind"] for one in asked} == {"sos.acknowledged", "sos.answered"}
    before = asked[0]["remaining"]
    answer = me.post("/api/v1/resident/wechat-credits", {"template_ids": ["MINI_1", "SOMEBODY_ELSES"]})
    assert {one["remaining"] for one in answer.json["wechat_templates"]} == {before + 1}
    with world.owner.connect() as connection:
        known = connection.execute(text("select distinct template_id from wechat_credits")).scalars()
        assert set(known) == {"MINI_1"}


def test_wechat_is_not_asked_for_what_it_was_told_not_to_bring(world: World, call: Any) -> None:
    """What is urgent comes all the same, so that for this it may be asked."""
    me = call("officer")
    nothing = {"channels": {}, "quiet_from": None, "quiet_until": None}

    def asked(**channels: list[str]) -> set[str]:
        wanted = nothing | {"channels": {kind.replace("_", ".", 1): by for kind, by in channels.items()}}
        assert me.send("PUT", "/api/v1/officer/notice-settings", wanted).status_code == 200
        return {one["kind"] for one in me.get("/api/v1/officer/reach").json["wechat_templates"]}

    chosen = asked(report_answered=["webpush"], task_offered=["wechat_mini"], sos_raised=[])
    assert asked() - chosen == {"report.answered"}


def test_an_answer_in_wechat_that_comes_again_counts_once(world: World, call: Any) -> None:
    me, key = call("officer"), uuid.uuid4()
    before = me.get("/api/v1/officer/reach").json["wechat_templates"][0]["remaining"]
    for again in (key, key, uuid.uuid4()):
        answer = me.post("/api/v1/officer/wechat-credits", {"template_ids": ["MINI_1"]}, key=again)
        assert answer.json["wechat_templates"][0]["remaining"] == before + (1 if again == key else 2)


# --- Where staff is reached


def test_an_admin_writes_down_where_staff_is_reached(world: World, signed_in: Any) -> None:
    admin, officer = signed_in("admin"), world.officer()
    path = f"/api/v1/desk/users/{officer.id}/addresses"
    for channel, token in (
        ("wecom", "zhang.wei"), ("sms", "138 0000 1111"), ("voice", "+8613800001111"), ("email", "w@example.cn"),
    ):  # fmt: skip
        answer = admin.post(path, {"channel": channel, "token": token})
        assert answer.status_code == 201, answer.text
    listed = admin.get(path).json["items"]
    assert {one["channel"] for one in listed} == {"wecom", "sms", "voice", "email"}
    for channel, token in (
        ("wecom", "a b"), ("wecom", "@all"), ("wecom", "@ALL"), ("sms", "12"), ("email", "nobody"),
        ("fcm", "fid-1234567890"), ("webpush", ENDPOINT),
    ):  # fmt: skip
        assert admin.post(path, {"channel": channel, "token": token}).status_code == 422, channel
    colleague = f"/api/v1/desk/users/{world.officer().id}/addresses"
    phone = {"channel": "sms", "token": "+8613800001111"}
    taken = admin.post(colleague, phone)
    assert (taken.status_code, taken.json["code"]) == (409, "address_taken"), (
        "nobody is cut off without a word"
    )
    made = tell(world, officer, K.TASK_OFFERED)
    with world.owner.connect() as connection:
        rows = connection.execute(
            text("select channel from deliveries where notice_id = :id order by position"), {"id": made}
        )
        assert list(rows.scalars()) == ["wecom", "sms", "voice", "email"]
    for name in ("supervisor", "desk_a"):
        assert signed_in(name).get(path).status_code == 403
    stranger = signed_in("admin", world.there)
    assert stranger.get(path).status_code == 404
    assert stranger.post(path, {"channel": "wecom", "token": "x"}).status_code == 404
    end = f"/api/v1/desk/user-addresses/{listed[0]['id']}/end"
    assert stranger.post(end).status_code == 404
    assert admin.post(end).status_code == 204
    assert listed[0]["id"] not in admin.get(path).text
    for one in admin.get(path).json["items"]:
        assert admin.post(f"/api/v1/desk/user-addresses/{one['id']}/end").status_code == 204
    assert admin.post(colleague, phone).status_code == 201


# --- Dead letters


def bury(world: World, person: Person, **more: Any) -> tuple[str, str]:
    """A notice to a person that nobody could bring: its id, and the dead delivery's."""
    with unit_of_work(person.town_id) as uow:
        uow.session.execute(
            text(
                "insert into addresses (id, town_id, user_id, channel, token, created_at)"
                " values (gen_random_uuid(), :town, :user, 'wecom', :token, now())"
            ),
            {"town": person.town_id, "user": person.id, "token": uuid.uuid4().hex},
        )
        [made] = outbox.enqueue(
            uow, K.TASK_OFFERED, to=[person.id], subject=("task", uuid.uuid4()), params={"number": 7}, **more
        )
    with unit_of_work(person.town_id) as uow:
        mine = [one for one in delivering.claim(uow, NoticeChannel.WECOM, most=100) if one.notice_id == made]
    with unit_of_work(person.town_id) as uow:
        assert delivering.refused(uow, mine[0], "wecom_40058")
    return str(made), str(mine[0].id)


def test_the_desk_sees_the_dead_letters_of_its_own_people_and_retries_them(
    world: World, signed_in: Any
) -> None:
    """F12, F41: what no channel took is seen, and tried anew by who may; of other areas and towns there is nothing."""
    officer = world.officer("a")
    notice_id, letter = bury(world, officer)
    desk, path = signed_in("desk_a"), "/api/v1/desk/dead-letters"
    [seen] = [one for one in desk.get(path).json["items"] if one["id"] == letter]
    assert (seen["channel"], seen["error"], seen["attempts"]) == ("wecom", "wecom_40058", 1)
    assert (seen["notice_id"], seen["recipient"]["id"]) == (notice_id, str(officer.id))
    assert seen["actions"] == ["retry"]
    for stranger in (signed_in("desk_b"), signed_in("desk_a", world.there), signed_in("admin", world.there)):
        assert letter not in stranger.get(path).text
        assert stranger.post(f"{path}/{letter}/retry").status_code == 404
    for name in ("auditor", "officer_a", "handler"):
        assert signed_in(name).get(path).status_code == 403
        assert signed_in(name).post(f"{path}/{letter}/retry").status_code == 403
    assert letter in signed_in("admin").get(path).text
    key = uuid.uuid4()
    for _ in range(2):
        answer = desk.post(f"{path}/{letter}/retry", key=key)
        assert (answer.status_code, answer.json["state"]) == (200, "waiting"), answer.text
    again = desk.post(f"{path}/{letter}/retry")
    assert (again.status_code, again.json["code"], again.json["current"]) == (409, "wrong_state", "waiting")
    with unit_of_work(world.here.id) as uow:
        [claimed] = [c for c in delivering.claim(uow, NoticeChannel.WECOM, most=100) if str(c.id) == letter]
    assert claimed.attempts == 1
    with world.owner.connect() as connection:
        written = connection.execute(
            text('select action, actor_id, "from", "to" from journal where subject_id = :id'), {"id": letter}
        ).all()
    assert [tuple(row) for row in written] == [("retry", world.here["desk_a"].id, "dead", "waiting")]


def test_what_does_not_hold_any_more_is_not_retried(world: World, signed_in: Any) -> None:
    from datetime import timedelta

    from backend.core.clock import now

    _, letter = bury(world, world.officer("a"), expires_at=now() + timedelta(minutes=5))
    with world.owner.begin() as connection:
        connection.execute(
            text(
                "update notices set created_at = now() - interval '2 h', expires_at = now() - interval '1 h'"
                " where id = (select notice_id from deliveries where id = :id)"
            ),
            {"id": letter},
        )
    answer = signed_in("desk_a").post(f"/api/v1/desk/dead-letters/{letter}/retry")
    assert (answer.status_code, answer.json["code"]) == (409, "notice_expired")


def test_the_application_puts_its_own_settings_to_use(world: World, caller: Caller) -> None:
    from dataclasses import replace

    from backend.app import create_app
    from backend.core.config import ConfigError
    from backend.core.notice_settings import Parameter, ProviderTemplate

    create_app(replace(world.config, notices=everything(webpush_contact=None)))
    assert NoticeChannel.WEBPUSH not in reach.settings().configured
    assert NoticeChannel.WECOM in reach.settings().configured
    bad = {NoticeChannel.SMS: {K.TASK_OFFERED: ProviderTemplate("x", {"who": Parameter("display_name")})}}
    with pytest.raises(ConfigError, match=r"is filled with display_name, but task\.offered has"):
        create_app(replace(world.config, notices=everything(templates=bad)))
