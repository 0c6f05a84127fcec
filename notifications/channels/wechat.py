"""WeChat 微信: subscribe messages of a mini program, template messages of a service account, and who a code is of.

Formats: https://developers.weixin.qq.com/miniprogram/dev/OpenApiDoc/mp-message-management/subscribe-message/sendMessage.html
and https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Template_Message_Interface.html.
"""

from __future__ import annotations

from typing import Any

from backend.core.errors import Invalid, Unavailable
from backend.core.notice_settings import WechatApp
from backend.core.vocabulary import NoticeChannel
from notifications.channels import tencent
from notifications.channels.channel import AddressDead, Message, Rejected, Target, TryLater

BASE = "https://api.weixin.qq.com"
NOT_SUBSCRIBED, NO_SUCH_USER, UNFOLLOWED = 43101, 40003, 43004


class Wechat:
    """Messages of one application, by template."""

    def __init__(self, name: NoticeChannel, settings: WechatApp) -> None:
        self.name = name
        self._settings = settings
        self._base = settings.base or BASE
        self._token = tencent.AccessToken(str(name), self._fetch)

    def _fetch(self) -> dict[str, Any]:
        body = {
            "grant_type": "client_credential",
            "appid": self._settings.app_id,
            "secret": self._settings.secret,
        }
        return tencent.call("POST", f"{self._base}/cgi-bin/stable_token", name=self.name, json=body)

    def send(self, message: Message, target: Target) -> str | None:
        data = {name: {"value": value} for name, value in message.parameters.items()}
        body: dict[str, Any] = {"touser": target.token, "template_id": message.template_id, "data": data}
        if self.name is NoticeChannel.WECHAT_MINI:
            path = "message/subscribe/send"
            body |= {
                "page": f"pages/notice/index?id={message.event_id}",
                "miniprogram_state": "formal",
                "lang": "zh_CN" if message.language == "zh-CN" else "en_US",
            }
        else:
            path = "message/template/send"
            body |= {"client_msg_id": message.event_id.hex}
            if message.link:
                body["url"] = message.link

        def ask(token: str) -> dict[str, Any]:
            url = f"{self._base}/cgi-bin/{path}"
            return tencent.call("POST", url, name=self.name, params={"access_token": token}, json=body)

        answer = tencent.with_token(self._token, self.name, ask)
        code = answer["errcode"]
        if code == NOT_SUBSCRIBED:
            raise Rejected("wechat_not_subscribed")
        if code in (NO_SUCH_USER, UNFOLLOWED):
            raise AddressDead("wechat_no_such_user")
        if code:
            raise Rejected(f"{self.name}_{code}")
        return str(answer["msgid"]) if answer.get("msgid") else None


def openid_of(name: NoticeChannel, settings: WechatApp, code: str) -> str:
    """Return who a one-time code is of, as this application knows him. A client cannot name anybody else this way.

    Raises:
        Invalid: ``wechat_code``; the code is none, or was used.
        Unavailable: WeChat does not answer.
    """
    base = settings.base or BASE
    given = {"appid": settings.app_id, "secret": settings.secret, "grant_type": "authorization_code"}
    if name is NoticeChannel.WECHAT_MINI:
        url, given["js_code"] = f"{base}/sns/jscode2session", code
    else:
        url, given["code"] = f"{base}/sns/oauth2/access_token", code
    try:
        answer = tencent.call("GET", url, name=name, params=given)
    except TryLater:
        raise Unavailable("WeChat does not answer; please try again.", code="wechat_unavailable") from None
    openid = answer.get("openid")
    if answer["errcode"] or not isinstance(openid, str) or not openid:
        raise Invalid("WeChat does not know this code.", "wechat_code")
    return openid
