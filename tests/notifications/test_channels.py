"""Each channel with its real client library, against a server that speaks the vendor's wire format.

Each is shown what it may meet: taken, too often (429), a fault of theirs (5xx), no answer in time, an address that is
dead, a message that will never be taken.
"""

from __future__ import annotations

import email
import hashlib
import hmac
import json
import stat
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backend.core.errors import Invalid, Unavailable
from backend.core.ids import new_id
from backend.core.notice_settings import Gateway, Mail, WechatApp, WecomApp
from backend.core.vocabulary import NoticeChannel, NoticeKind
from notifications.channels import channel, subscriptions, tencent
from notifications.channels.channel import AddressDead, Message, Rejected, Target, TryLater
from notifications.channels.mail import Mail as MailChannel
from notifications.channels.phone import Phone
from notifications.channels.webpush import Webpush
from notifications.channels.wechat import Wechat, openid_of
from notifications.channels.wecom import Wecom, WecomRobot, cut
from notifications.delivering import Claimed, Sendable
from notifications.sending import deliver
from tests.notifications.vendors import Asked, Browser, Says, Vendor, mail_server, vendor

C = NoticeChannel
MESSAGE = Message(
    event_id=new_id(),
    delivery_id=new_id(),
    kind=NoticeKind.SOS_RAISED,
    subject_kind="alarm",
    subject_id=new_id(),
    urgent=True,
    title="紧急求援",
    body="东门，请立即响应。",
    language="zh-CN",
    template_id="T1",
    signature="巡更",
    parameters={"thing1": "紧急求援"},
    link="https://xungeng.example.cn/officer/?notice=1",
)


@pytest.fixture
def cloud() -> Iterator[Vendor]:
    with vendor() as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for half a second at most."""
    from notifications.channels import fcm, mail, phone, webpush

    for module in (channel, fcm, mail, phone, tencent, webpush):
        monkeypatch.setattr(module, "TIMEOUT_S", 0.5)


def refused(way: Any, target: Target, message: Message = MESSAGE) -> Any:
    with pytest.raises(channel.NotTakenError) as caught:
        way.send(message, target)
    return caught.value


# --- FCM


@pytest.fixture(scope="module")
def service_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


FCM_PATH = "/v1/projects/town/messages:send"


@pytest.fixture
def fcm(cloud: Vendor, service_key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The channel, with the SDK's own way to a token and to the interface, both on this machine."""
    from firebase_admin import messaging

    from notifications.channels.fcm import Fcm

    url = cloud.url + "/v1/projects/{0}/messages:send"
    monkeypatch.setattr(messaging._MessagingService, "FCM_URL", url)
    account = {
        "type": "service_account", "project_id": "town", "private_key_id": "1", "private_key": service_key,
        "client_email": "x@town.iam.gserviceaccount.com", "token_uri": cloud.url + "/token",
    }  # fmt: skip
    path = tmp_path / "fcm.json"
    path.write_text(json.dumps(account))
    cloud.answers["/token"] = Says(json={"access_token": "at", "expires_in": 3600, "token_type": "Bearer"})
    return lambda: Fcm(path)


def fcm_error(status: int, word: str, code: str | None = None, **headers: str) -> Says:
    details = (
        [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}] if code else []
    )
    error = {"code": status, "status": word, "message": word, "details": details}
    return Says(status, {"error": error}, headers)


def test_fcm_takes_a_message_with_its_event_id(cloud: Vendor, fcm: Any) -> None:
    """F11: a repeat carries the same id and tag, so it takes the first one's place on the screen."""
    cloud.answers[FCM_PATH] = Says(json={"name": "projects/town/messages/1"})
    message = replace(MESSAGE, expires_at=datetime.now(UTC) + timedelta(seconds=90))
    assert fcm().send(message, Target("fid-1234567890")) == "projects/town/messages/1"
    [asked] = cloud.of(FCM_PATH)
    assert asked.headers["authorization"] == "Bearer at"
    sent = asked.json["message"]
    assert sent["fid"] == "fid-1234567890"
    assert sent["data"]["event_id"] == str(message.event_id)
    assert sent["android"]["priority"] == "high"
    assert sent["android"]["notification"]["tag"] == str(message.event_id)
    assert 80 <= int(sent["android"]["ttl"].rstrip("s")) <= 90
    assert sent["apns"]["headers"]["apns-collapse-id"] == str(message.event_id)
    assert sent["notification"] == {"title": message.title, "body": message.body}


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (fcm_error(404, "NOT_FOUND", "UNREGISTERED"), AddressDead, "fcm_unregistered"),
        (fcm_error(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), AddressDead, "fcm_unregistered"),
        (fcm_error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"), Rejected, "fcm_refused"),
        (fcm_error(502, "UNAVAILABLE"), TryLater, "fcm_failed"),
    ],
)
def test_fcm_says_why_not(cloud: Vendor, fcm: Any, said: Says, kind: type, code: str) -> None:
    cloud.answers[FCM_PATH] = said
    error = refused(fcm(), Target("fid-1234567890"))
    assert (type(error), error.code) == (kind, code)


def test_fcm_too_often_holds_the_channel_for_as_long_as_it_says(cloud: Vendor, fcm: Any) -> None:
    cloud.answers[FCM_PATH] = fcm_error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", **{"Retry-After": "61"})
    error = refused(fcm(), Target("fid-1234567890"))
    assert (type(error), error.code, error.after_s, error.all_wait) == (TryLater, "fcm_busy", 61.0, True)
    assert len(cloud.of(FCM_PATH)) == 1, "the library itself does not try again"


def test_fcm_that_does_not_answer_is_tried_later(cloud: Vendor, fcm: Any, impatient: None) -> None:
    cloud.answers[FCM_PATH] = Says(after_s=60)
    assert refused(fcm(), Target("fid-1234567890")).code == "fcm_failed"


def test_fcm_without_a_token_holds_the_channel(cloud: Vendor, fcm: Any) -> None:
    cloud.answers["/token"] = Says(400, {"error": "invalid_grant", "error_description": "x"})
    error = refused(fcm(), Target("fid-1234567890"))
    assert (type(error), error.all_wait) == (TryLater, True)


# --- Web Push


@pytest.fixture
def webpush(cloud: Vendor, tmp_path: Path) -> Webpush:
    return Webpush("mailto:ops@example.cn", tmp_path / "secrets" / "vapid.pem", [cloud.url])


def test_web_push_is_read_by_its_browser_alone(cloud: Vendor, webpush: Webpush, tmp_path: Path) -> None:
    """F11: the event's id is in it, and its topic lets the service keep one of repeats."""
    browser = Browser(cloud.url)
    cloud.answers["/push/1"] = Says(201, headers={"Location": "https://push.example/m/1"})
    assert webpush.send(MESSAGE, browser.target) == "https://push.example/m/1"
    [asked] = cloud.of("/push/1")
    read = browser.read(asked.body)
    assert read["event_id"] == str(MESSAGE.event_id)
    assert (read["title"], read["body"], read["link"]) == (MESSAGE.title, MESSAGE.body, MESSAGE.link)
    assert (read["language"], read["urgent"]) == ("zh-CN", True)
    assert "求援".encode() not in asked.body
    assert asked.headers["urgency"] == "high"
    assert 0 < int(asked.headers["ttl"]) <= 3600
    assert UUID(bytes=urlsafe_b64decode(asked.headers["topic"] + "==")) == MESSAGE.event_id
    scheme, _, rest = asked.headers["authorization"].partition(" ")
    signed = dict(part.strip().split("=", 1) for part in rest.split(","))
    assert scheme == "vapid"
    assert signed["k"] == subscriptions.public_key(tmp_path / "secrets" / "vapid.pem")
    claims = json.loads(urlsafe_b64decode(signed["t"].split(".")[1] + "=="))
    assert (claims["sub"], claims["aud"]) == ("mailto:ops@example.cn", cloud.url)


@pytest.mark.parametrize(
    ("said", "kind", "code", "after_s"),
    [
        (Says(410), AddressDead, "webpush_gone", None),
        (Says(404), AddressDead, "webpush_gone", None),
        (Says(429, headers={"Retry-After": "7"}), TryLater, "webpush_busy", 7.0),
        (Says(503, headers={"Retry-After": "9"}), TryLater, "webpush_failed", 9.0),
        (Says(413), Rejected, "webpush_refused", None),
        (Says(307, headers={"Location": "http://127.0.0.1:1/x"}), TryLater, "webpush_unanswered", None),
    ],
)
def test_web_push_says_why_not(
    cloud: Vendor, webpush: Webpush, said: Says, kind: type, code: str, after_s: float | None
) -> None:
    """F76: a service that sends us elsewhere is not followed."""
    cloud.answers["/push/1"] = said
    error = refused(webpush, Browser(cloud.url).target)
    assert (type(error), error.code, getattr(error, "after_s", None)) == (kind, code, after_s)


def test_web_push_that_does_not_answer_is_tried_later(
    cloud: Vendor, webpush: Webpush, impatient: None
) -> None:
    cloud.answers["/push/1"] = Says(201, after_s=60)
    assert refused(webpush, Browser(cloud.url).target).code == "webpush_unanswered"


def test_web_push_goes_to_push_services_alone(cloud: Vendor, webpush: Webpush) -> None:
    """F76: whatever stands in the table, an address that is no push service's is not called."""
    with vendor() as other:
        target = replace(Browser(cloud.url).target, token=other.url + "/push/1")
        assert refused(webpush, target).code == "webpush_unknown_service"
        assert other.asked == []
    broken = replace(Browser(cloud.url).target, keys={"p256dh": "AAAA", "auth": "AAAA"})
    assert refused(webpush, broken).code == "webpush_bad_keys"


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://evil.example\\.push.apple.com/x",
        "https://127.0.0.1\\.notify.windows.com/x",
        "https://evil.example%5c.push.apple.com/x",
        "https://evil.example;.push.apple.com/x",
        "https://.push.apple.com/x",
        "https://a@b.push.apple.com/x",
        "https://evil.example#.push.apple.com/x",
        "https://evil.example?.push.apple.com/x",
        "https://fcm.googleapis.com:8443/x",
        "http://fcm.googleapis.com/x",
    ],
)
def test_no_endpoint_is_one_host_to_us_and_another_to_who_calls_it(endpoint: str) -> None:
    """F76: at a backslash urllib3 ends the host that Python's urlsplit reads on."""
    assert not subscriptions.is_service(endpoint)
    assert subscriptions.is_service("https://a1.push.apple.com/x")
    assert subscriptions.is_service("https://fcm.googleapis.com/fcm/send/x")


def test_the_installations_key_is_made_once_and_read_by_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "vapid.pem"
    first = subscriptions.vapid(path).public_key.public_numbers()
    assert subscriptions.vapid(path).public_key.public_numbers() == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["vapid.pem"]


# --- WeCom


TOKEN = {"errcode": 0, "errmsg": "ok", "access_token": "t1", "expires_in": 7200}
SEND = "/cgi-bin/message/send"


@pytest.fixture
def wecom(cloud: Vendor) -> Wecom:
    cloud.answers["/cgi-bin/gettoken"] = Says(json=TOKEN)
    return Wecom(WecomApp("corp", 1000002, "secret", cloud.url))


def test_wecom_brings_a_message_to_a_person(cloud: Vendor, wecom: Wecom) -> None:
    """F11: WeCom itself drops an equal message within four hours."""
    cloud.answers[SEND] = Says(json={"errcode": 0, "errmsg": "ok", "msgid": "m1"})
    assert wecom.send(MESSAGE, Target("zhang.wei")) == "m1"
    assert wecom.send(MESSAGE, Target("zhang.wei")) == "m1"
    [token] = cloud.of("/cgi-bin/gettoken")
    assert token.query == {"corpid": "corp", "corpsecret": "secret"}, "asked once and kept"
    first, second = cloud.of(SEND)
    assert first.json == second.json
    assert first.query == {"access_token": "t1"}
    assert (first.json["touser"], first.json["agentid"]) == ("zhang.wei", 1000002)
    assert first.json["enable_duplicate_check"] == 1
    assert first.json["textcard"]["url"] == MESSAGE.link
    wecom.send(replace(MESSAGE, link=None), Target("zhang.wei"))
    assert str(MESSAGE.event_id.hex[-6:]) in cloud.of(SEND)[-1].json["text"]["content"]


@pytest.mark.parametrize("link", [MESSAGE.link, None])
def test_nobody_writes_a_link_into_wecom_by_what_he_calls_his_crew(
    cloud: Vendor, wecom: Wecom, link: str | None
) -> None:
    """F60: WeCom shows tags in a text as what they mean."""
    cloud.answers[SEND] = Says(json={"errcode": 0, "errmsg": "ok"})
    said = replace(MESSAGE, title="<b>1</b>", body='<a href="//evil.example">巡 1</a>', link=link)
    wecom.send(said, Target("zhang.wei"))
    body = cloud.of(SEND)[-1].json
    assert "evil.example" in str(body[body["msgtype"]]), "as words"
    assert not set("<>") & set(str(body[body["msgtype"]]))


@pytest.mark.parametrize(
    ("said", "kind", "code", "all_wait"),
    [
        (Says(json={"errcode": 81013}), AddressDead, "wecom_no_such_user", None),
        (Says(json={"errcode": 0, "invaliduser": "li|ZHANG.WEI"}), AddressDead, "wecom_no_such_user", None),
        (Says(json={"errcode": 40058}), Rejected, "wecom_40058", None),
        (Says(json={"errcode": 45009}), TryLater, "wecom_busy", True),
        (Says(json={"errcode": -1}), TryLater, "wecom_busy", False),
        (Says(429), TryLater, "wecom_busy", True),
        (Says(500), TryLater, "wecom_failed", False),
        (Says(json=["no", "object"]), TryLater, "wecom_unreadable", False),
    ],
)
def test_wecom_says_why_not(
    cloud: Vendor, wecom: Wecom, said: Says, kind: type, code: str, all_wait: bool | None
) -> None:
    cloud.answers[SEND] = said
    error = refused(wecom, Target("zhang.wei"))
    assert (type(error), error.code, getattr(error, "all_wait", None)) == (kind, code, all_wait)


def test_wecoms_token_that_was_taken_back_is_fetched_anew_once(cloud: Vendor, wecom: Wecom) -> None:
    def answer(asked: Asked) -> Says:
        good = asked.query["access_token"] == "t2"
        return Says(json={"errcode": 0, "msgid": "m"} if good else {"errcode": 42001})

    tokens = iter(["t1", "t2"])
    cloud.answers["/cgi-bin/gettoken"] = lambda _: Says(json={**TOKEN, "access_token": next(tokens)})
    cloud.answers[SEND] = answer
    assert wecom.send(MESSAGE, Target("zhang.wei")) == "m"
    cloud.answers["/cgi-bin/gettoken"] = Says(json=TOKEN)
    cloud.answers[SEND] = Says(json={"errcode": 40014})
    error = refused(wecom, Target("zhang.wei"))
    assert (error.code, error.all_wait) == ("wecom_no_token", True)
    assert len(cloud.of(SEND)) == 4


def test_wecom_that_does_not_answer_is_tried_later(cloud: Vendor, wecom: Wecom, impatient: None) -> None:
    cloud.answers[SEND] = Says(after_s=60)
    assert refused(wecom, Target("zhang.wei")).code == "wecom_unanswered"
    cloud.answers["/cgi-bin/gettoken"] = Says(json={"errcode": 40001})
    fresh = Wecom(WecomApp("corp", 1, "wrong", cloud.url))
    assert refused(fresh, Target("zhang.wei")).code == "wecom_no_token"


def test_the_group_robot_keeps_to_twenty_a_minute(cloud: Vendor) -> None:
    robot, target = WecomRobot(), Target(cloud.url + "/robot?key=k")
    cloud.answers["/robot"] = Says(json={"errcode": 0})
    for _ in range(20):
        robot.send(MESSAGE, target)
    error = refused(robot, target)
    assert (error.code, error.all_wait) == ("wecom_robot_busy", False)
    assert 0 < error.after_s <= 60
    assert len(cloud.of("/robot")) == 20
    assert robot.send(MESSAGE, Target(cloud.url + "/robot?key=another")) is None, (
        "another group's is another count"
    )
    sent = cloud.of("/robot")[0]
    assert sent.json["msgtype"] == "text"
    assert MESSAGE.title in sent.json["text"]["content"]
    for said, code in (
        (Says(json={"errcode": 45009}), "wecom_robot_busy"),
        (Says(json={"errcode": 93000}), "wecom_robot_93000"),
        (Says(502), "wecom_robot_failed"),
    ):
        cloud.answers["/robot"] = said
        assert refused(WecomRobot(), target).code == code


def test_a_text_is_cut_between_characters() -> None:
    assert cut("求援", 6) == "求援"
    assert cut("求援求援", 8) == "求…"
    assert len(cut("求" * 2000, 2048).encode()) <= 2048


# --- WeChat


MINI, TEMPLATE = "/cgi-bin/message/subscribe/send", "/cgi-bin/message/template/send"


@pytest.fixture
def apps(cloud: Vendor) -> dict[NoticeChannel, Wechat]:
    cloud.answers["/cgi-bin/stable_token"] = Says(json={"access_token": "t1", "expires_in": 7200})
    settings = WechatApp("app", "secret", cloud.url)
    return {name: Wechat(name, settings) for name in (C.WECHAT_MINI, C.WECHAT_SERVICE)}


def test_wechat_takes_templates_and_parameters_and_no_text(
    cloud: Vendor, apps: dict[NoticeChannel, Wechat]
) -> None:
    cloud.answers[MINI] = Says(json={"errcode": 0, "msgid": 5})
    cloud.answers[TEMPLATE] = Says(json={"errcode": 0, "msgid": 6})
    assert apps[C.WECHAT_MINI].send(MESSAGE, Target("openid")) == "5"
    assert apps[C.WECHAT_SERVICE].send(MESSAGE, Target("openid")) == "6"
    [mini], [service] = cloud.of(MINI), cloud.of(TEMPLATE)
    assert mini.json["data"] == service.json["data"] == {"thing1": {"value": "紧急求援"}}
    assert (mini.json["touser"], mini.json["template_id"], mini.json["lang"]) == ("openid", "T1", "zh_CN")
    assert str(MESSAGE.event_id) in mini.json["page"]
    assert service.json["client_msg_id"] == MESSAGE.event_id.hex, "F11: WeChat drops a repeat"
    token = cloud.of("/cgi-bin/stable_token")[0]
    assert token.json == {"grant_type": "client_credential", "appid": "app", "secret": "secret"}
    for asked in (mini, service):
        assert MESSAGE.body not in asked.body.decode()


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (Says(json={"errcode": 43101}), Rejected, "wechat_not_subscribed"),
        (Says(json={"errcode": 40003}), AddressDead, "wechat_no_such_user"),
        (Says(json={"errcode": 43004}), AddressDead, "wechat_no_such_user"),
        (Says(json={"errcode": 47003}), Rejected, "wechat_mini_47003"),
        (Says(json={"errcode": 45009}), TryLater, "wechat_mini_busy"),
        (Says(json={"errcode": 42001}), TryLater, "wechat_mini_no_token"),
        (Says(429), TryLater, "wechat_mini_busy"),
        (Says(503), TryLater, "wechat_mini_failed"),
    ],
)
def test_wechat_says_why_not(
    cloud: Vendor, apps: dict[NoticeChannel, Wechat], said: Says, kind: type, code: str
) -> None:
    cloud.answers[MINI] = said
    error = refused(apps[C.WECHAT_MINI], Target("openid"))
    assert (type(error), error.code) == (kind, code)


def test_wechat_that_does_not_answer_is_tried_later(
    cloud: Vendor, apps: dict[NoticeChannel, Wechat], impatient: None
) -> None:
    cloud.answers[MINI] = Says(after_s=60)
    assert refused(apps[C.WECHAT_MINI], Target("openid")).code == "wechat_mini_unanswered"


def test_wechat_says_whose_a_code_is(cloud: Vendor, impatient: None) -> None:
    settings = WechatApp("app", "secret", cloud.url)
    paths = {
        C.WECHAT_MINI: ("/sns/jscode2session", "js_code"),
        C.WECHAT_SERVICE: ("/sns/oauth2/access_token", "code"),
    }
    for name, (path, field) in paths.items():
        cloud.answers[path] = Says(json={"openid": "o1", "session_key": "k"})
        assert openid_of(name, settings, "the code") == "o1"
        assert cloud.of(path)[0].query[field] == "the code"
        cloud.answers[path] = Says(json={"errcode": 40029, "errmsg": "invalid code"})
        with pytest.raises(Invalid):
            openid_of(name, settings, "another")
        cloud.answers[path] = Says(500)
        with pytest.raises(Unavailable):
            openid_of(name, settings, "another")


# --- SMS and voice


@pytest.mark.parametrize("name", [C.SMS, C.VOICE])
def test_a_gateway_gets_signed_json_that_it_can_tell_from_a_repeat(
    cloud: Vendor, name: NoticeChannel
) -> None:
    """F11: the same key for a repeat of the same delivery."""
    cloud.answers["/send"] = Says(202, {"id": "g1"})
    way = Phone(name, Gateway(cloud.url + "/send", "the token"))
    assert way.send(MESSAGE, Target("+8613800000000")) == "g1"
    [asked] = cloud.of("/send")
    assert asked.json == {
        "phone": "+8613800000000", "template": "T1", "signature": "巡更", "parameters": {"thing1": "紧急求援"},
        "event_id": str(MESSAGE.event_id),
    }  # fmt: skip
    assert asked.headers["idempotency-key"] == str(MESSAGE.delivery_id)
    at_s, code = (part.split("=", 1)[1] for part in asked.headers["x-xungeng-signature"].split(","))
    wanted = hmac.new(b"the token", at_s.encode() + b"." + asked.body, hashlib.sha256).hexdigest()
    assert code == wanted
    assert abs(datetime.now(UTC).timestamp() - int(at_s)) < 600


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (Says(410), AddressDead, "sms_gone"),
        (Says(404), AddressDead, "sms_gone"),
        (Says(400), Rejected, "sms_refused"),
        (Says(429, headers={"Retry-After": "30"}), TryLater, "sms_busy"),
        (Says(500), TryLater, "sms_failed"),
    ],
)
def test_a_gateway_says_why_not(cloud: Vendor, said: Says, kind: type, code: str) -> None:
    cloud.answers["/send"] = said
    error = refused(Phone(C.SMS, Gateway(cloud.url + "/send", None)), Target("+8613800000000"))
    assert (type(error), error.code) == (kind, code)
    if code == "sms_busy":
        assert (error.after_s, error.all_wait) == (30.0, True)
    assert "authorization" not in cloud.of("/send")[0].headers


def test_a_gateway_that_does_not_answer_is_tried_later(cloud: Vendor, impatient: None) -> None:
    cloud.answers["/send"] = Says(after_s=60)
    way = Phone(C.VOICE, Gateway(cloud.url + "/send", "t"))
    assert refused(way, Target("+8613800000000")).code == "voice_unanswered"


# --- E-mail


def test_a_mail_is_known_by_its_event(impatient: None) -> None:
    """F11: a repeat has the same Message-ID, by which mailboxes and readers know it."""
    with mail_server() as server:
        host, port = server.server_address[:2]
        way = MailChannel(Mail(str(host), port, ["巡更 ", "ops@example.cn>"][1].rstrip(">"), tls=False))
        assert way.send(MESSAGE, Target("wei@example.cn"))
        mail = email.message_from_bytes(server.mails[0], policy=default)
        assert (mail["To"], mail["Subject"]) == ("wei@example.cn", MESSAGE.title)
        assert mail["Message-ID"] == f"<{MESSAGE.event_id}@example.cn>"
        assert MESSAGE.body in mail.get_content()
        for rcpt, taken, kind, code in (
            (b"550 no such mailbox", b"250 ok", AddressDead, "email_no_mailbox"),
            (b"451 later", b"250 ok", TryLater, "email_busy"),
            (b"250 ok", b"452 full", TryLater, "email_busy"),
            (b"250 ok", b"554 no", Rejected, "email_refused"),
        ):
            server.rcpt, server.taken = rcpt, taken
            error = refused(way, Target("wei@example.cn"))
            assert (type(error), error.code) == (kind, code), rcpt
        secret = MailChannel(Mail(str(host), port, "ops@example.cn", "ops", "secret", tls=False))
        assert refused(secret, Target("wei@example.cn")).code == "email_unanswered", "no password without TLS"
    assert refused(way, Target("wei@example.cn")).code == "email_unanswered"


# --- Several addresses


class Scripted:
    name = C.FCM

    def __init__(self, **says: Any) -> None:
        self.says, self.asked = says, list[str]()

    def send(self, message: Message, target: Target) -> str | None:
        self.asked.append(target.token)
        said = self.says[target.token]
        if isinstance(said, Exception):
            raise said
        return str(said)


def outcome(**says: Any) -> tuple[Any, list[str]]:
    way = Scripted(**says)
    targets = tuple(Target(name, {}, new_id()) for name in says)
    claimed = Claimed(new_id(), MESSAGE.event_id, C.FCM, 1, datetime.now(UTC) + timedelta(minutes=2))
    found = deliver(way, Sendable(claimed, MESSAGE, targets))
    return found, way.asked


def test_one_address_that_took_it_is_enough_and_the_dead_are_named() -> None:
    found, _ = outcome(a=AddressDead("gone"), b="ref", c=TryLater("busy"))
    assert (found.taken, found.ref, [code for _, code in found.dead]) == (True, "ref", ["gone"])
    found, _ = outcome(a=AddressDead("gone"), b=TryLater("busy", 5.0))
    assert (found.taken, found.final, found.code, found.after_s) == (False, False, "busy", 5.0)
    assert len(found.dead) == 1
    found, _ = outcome(a=AddressDead("gone"), b=Rejected("no"))
    assert (found.taken, found.final, found.code) == (False, True, "no")
    found, _ = outcome(a=AddressDead("gone"))
    assert (found.final, found.code, len(found.dead)) == (True, "gone", 1)


def test_a_channel_that_takes_nothing_is_not_asked_for_the_next_address() -> None:
    found, asked = outcome(a=TryLater("busy", 60.0, all_wait=True), b="ref")
    assert (found.taken, found.all_wait, asked) == (False, True, ["a"])
