"""Providers' templates: read, checked at the start, filled and cut to length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.core.config import Config, ConfigError
from backend.core.notice_settings import NoticeSettings, Parameter, ProviderTemplate, read_templates
from backend.core.vocabulary import NoticeChannel, NoticeKind
from notifications import reach
from tests.notifications.conftest import everything

GOOD = {
    "id": "SMS_1",
    "signature": "巡更",
    "parameters": {"no": "number", "where": {"from": "place", "most": 12}},
}


def read(tmp_path: Path, document: Any, **settings: str) -> NoticeSettings:
    path = tmp_path / "templates.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    env = {"XUNGENG_DATA": str(tmp_path / "var"), "XUNGENG_NOTICE_TEMPLATES": str(path), **settings}
    return Config.from_env(env).notices


def test_a_file_names_templates_by_channel_and_kind(tmp_path: Path) -> None:
    settings = read(tmp_path, {"sms": {"task.offered": GOOD}}, XUNGENG_SMS_URL="http://127.0.0.1:9")
    assert settings.carries(NoticeChannel.SMS, NoticeKind.TASK_OFFERED)
    assert not settings.carries(NoticeChannel.SMS, NoticeKind.SOS_RAISED), "it has no template"
    assert settings.template(NoticeChannel.SMS, NoticeKind.TASK_OFFERED) == ProviderTemplate(
        "SMS_1", {"no": Parameter("number"), "where": Parameter("place", 12)}, "巡更"
    )
    assert NoticeChannel.SMS not in read(tmp_path, {"sms": {"task.offered": GOOD}}).configured
    assert NoticeChannel.SMS not in read(tmp_path, {}, XUNGENG_SMS_URL="http://127.0.0.1:9").configured


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is not JSON"),
        ([], "has no object for the file"),
        ({"wecom": {}}, "names the channel 'wecom'"),
        ({"sms": {"task.invented": GOOD}}, "names the kind 'task.invented'"),
        ({"sms": {"task.offered": {}}}, "has no text for the id of sms task.offered"),
        ({"sms": {"task.offered": {**GOOD, "text": "free"}}}, "has text under sms task.offered"),
        ({"sms": {"task.offered": {**GOOD, "parameters": {"a": 1}}}}, "has no object for sms task.offered a"),
        (
            {"sms": {"task.offered": {**GOOD, "parameters": {"a": {"from": "place", "most": 0}}}}},
            "a length that is no number",
        ),
    ],
)
def test_a_file_that_is_not_in_order_is_one_sentence(tmp_path: Path, document: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, document)
    assert said in str(caught.value)
    assert str(caught.value).startswith("XUNGENG_NOTICE_TEMPLATES: ")
    assert "\n" not in str(caught.value)


def wrong(channel: NoticeChannel, kind: NoticeKind, name: str, parameter: Parameter) -> str:
    settings = everything(templates={channel: {kind: ProviderTemplate("x", {name: parameter})}})
    with pytest.raises(ConfigError) as caught:
        reach.use(settings)
    return str(caught.value)


def test_parameters_that_a_kind_does_not_have_are_refused_at_the_start() -> None:
    said = wrong(NoticeChannel.SMS, NoticeKind.ROLL_CALL_CALLED, "no", Parameter("number"))
    assert "is filled with number, but roll_call.called has answer_min" in said


def test_wechats_own_bounds_hold() -> None:
    K, C = NoticeKind.TASK_OFFERED, NoticeChannel.WECHAT_MINI  # noqa: N806
    assert "may have 20 characters" in wrong(C, K, "thing1", Parameter("title", 21))
    assert "may have 5 characters" in wrong(C, K, "phrase2", Parameter("what", 20))
    assert "a name that WeChat gives to none" in wrong(C, K, "title", Parameter("title"))
    reach.use(everything(templates={C: {K: ProviderTemplate("x", {"thing1": Parameter("title", 20)})}}))


def test_parameters_are_filled_and_cut_and_never_empty() -> None:
    template = ProviderTemplate(
        "x", {"a": Parameter("place", 5), "b": Parameter("number"), "c": Parameter("what", 1)}
    )
    assert reach.filled(template, {"place": "青禾花园东门岗亭", "what": "噪声"}) == {
        "a": "青禾花园…", "b": "-", "c": "噪",
    }  # fmt: skip


def test_nothing_reads_as_a_channel_that_was_not_set_up() -> None:
    assert NoticeSettings().configured == frozenset()
    assert read_templates("{}") == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"XUNGENG_NOTICE_PROFILE": "us"}, "cn or intl"),
        ({"XUNGENG_WEBPUSH_CONTACT": "ops@example.cn"}, "mailto:"),
        ({"XUNGENG_WECOM_CORP_ID": "c", "XUNGENG_WECOM_SECRET": "s"}, "XUNGENG_WECOM_AGENT_ID is not set"),
        (
            {"XUNGENG_WECOM_CORP_ID": "c", "XUNGENG_WECOM_SECRET": "s", "XUNGENG_WECOM_AGENT_ID": "x"},
            "has to be a number",
        ),
        ({"XUNGENG_WECHAT_MINI_ID": "a"}, "XUNGENG_WECHAT_MINI_SECRET is not set"),
        ({"XUNGENG_WECOM_ROBOTS": "https://x"}, "qinghe="),
        ({"XUNGENG_SMTP_URL": "smtp://h"}, "XUNGENG_MAIL_FROM"),
        ({"XUNGENG_SMTP_URL": "http://h", "XUNGENG_MAIL_FROM": "a@b.cn"}, "smtps://"),
        ({"XUNGENG_VOICE_URL": "gateway"}, "whole address"),
        ({"XUNGENG_WECOM_URL": "http://"}, "whole address"),
        ({"XUNGENG_FCM_CREDENTIALS": "/nowhere"}, "not a file"),
        ({"XUNGENG_FCM_CREDENTIALS": __file__}, "no service account's"),
        ({"XUNGENG_NOTICE_RETENTION_DAYS": "1"}, "between 7 and 3660"),
    ],
)
def test_settings_of_channels_are_checked_in_one_sentence(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=r"[^\n]+") as caught:
        Config.from_env({"XUNGENG_DATA": str(tmp_path / "var"), **settings})
    assert said in str(caught.value)


def test_settings_of_every_channel_are_read(tmp_path: Path) -> None:
    settings = Config.from_env(
        {
            "XUNGENG_DATA": str(tmp_path / "var"),
            "XUNGENG_NOTICE_PROFILE": "intl",
            "XUNGENG_WEBPUSH_CONTACT": "mailto:ops@example.cn",
            "XUNGENG_WECOM_CORP_ID": "c",
            "XUNGENG_WECOM_SECRET": "s",
            "XUNGENG_WECOM_AGENT_ID": "7",
            "XUNGENG_WECOM_URL": "https://wecom.example.cn/",
            "XUNGENG_WECOM_ROBOTS": "qinghe=https://a.example/1?key=x there=https://a.example/2",
            "XUNGENG_WECHAT_MINI_ID": "m",
            "XUNGENG_WECHAT_MINI_SECRET": "s",
            "XUNGENG_SMTP_URL": "smtps://ops:p%40ss@mail.example.cn",
            "XUNGENG_MAIL_FROM": "ops@example.cn",
        }
    ).notices
    assert settings.profile == "intl"
    assert settings.wecom is not None
    assert (settings.wecom.agent_id, settings.wecom.base) == (7, "https://wecom.example.cn")
    assert settings.wecom_robots["qinghe"] == "https://a.example/1?key=x"
    assert settings.mail is not None
    assert (settings.mail.port, settings.mail.password, settings.mail.tls) == (465, "p@ss", True)
    assert settings.configured == {
        NoticeChannel.WEBPUSH, NoticeChannel.WECOM, NoticeChannel.WECOM_ROBOT, NoticeChannel.EMAIL,
    }  # fmt: skip
