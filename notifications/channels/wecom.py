"""WeCom 企业微信: an application's message to one person, and the group robot.

Formats: https://developer.work.weixin.qq.com/document/path/90236 (application messages) and path/91770 (robots).
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from typing import Any

from backend.core.notice_settings import WecomApp
from backend.core.vocabulary import NoticeChannel
from notifications.channels import tencent
from notifications.channels.channel import AddressDead, Message, Rejected, Target, TryLater

BASE = "https://qyapi.weixin.qq.com"
NOBODY = frozenset({81013, 60111, 60011, 40003, 46004})
"""No such person, or he may not use the application."""
REPEATS_DROPPED_S = 4 * 3600
"""WeCom drops an equal message to the same person for so long; its most."""
UNMARKED = str.maketrans("<>", "＜＞")
"""WeCom makes links and lines of tags in a text; whoever names a crew must not write a link to the desk."""
CARD_TITLE_BYTES, CARD_BODY_BYTES, TEXT_BYTES = 128, 512, 2048


class Wecom:
    """Messages of one application."""

    name = NoticeChannel.WECOM

    def __init__(self, settings: WecomApp) -> None:
        self._settings = settings
        self._base = settings.base or BASE
        self._token = tencent.AccessToken("wecom", self._fetch)

    def _fetch(self) -> dict[str, Any]:
        given = {"corpid": self._settings.corp_id, "corpsecret": self._settings.secret}
        return tencent.call("GET", f"{self._base}/cgi-bin/gettoken", name="wecom", params=given)

    def send(self, message: Message, target: Target) -> str | None:
        body: dict[str, Any] = {
            "touser": target.token,
            "agentid": self._settings.agent_id,
            "enable_duplicate_check": 1,
            "duplicate_check_interval": REPEATS_DROPPED_S,
        }
        title, said = message.title.translate(UNMARKED), message.body.translate(UNMARKED)
        if message.link:
            body |= {
                "msgtype": "textcard",
                "textcard": {
                    "title": cut(title, CARD_TITLE_BYTES),
                    "description": cut(said, CARD_BODY_BYTES),
                    "url": message.link,
                },
            }
        else:
            # The end of the id makes two notices with the same words two messages, and a repeat the same one.
            words = f"{title}\n{said}"
            mark = f"\n#{message.event_id.hex[-6:]}"
            body |= {"msgtype": "text", "text": {"content": cut(words, TEXT_BYTES - len(mark)) + mark}}

        def ask(token: str) -> dict[str, Any]:
            url = f"{self._base}/cgi-bin/message/send"
            return tencent.call("POST", url, name="wecom", params={"access_token": token}, json=body)

        answer = tencent.with_token(self._token, "wecom", ask)
        invalid = str(answer.get("invaliduser") or "").lower().split("|")
        if answer["errcode"] in NOBODY or target.token.lower() in invalid:
            raise AddressDead("wecom_no_such_user")
        if answer["errcode"]:
            raise Rejected(f"wecom_{answer['errcode']}")
        return str(answer["msgid"]) if answer.get("msgid") else None


class WecomRobot:
    """A robot in the group of a town's desk, which takes 20 messages a minute."""

    name = NoticeChannel.WECOM_ROBOT
    MOST, WINDOW_S = 20, 60.0

    def __init__(self) -> None:
        self._sent: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def send(self, message: Message, target: Target) -> str | None:
        self._count(target.token)
        words = f"{message.title}\n{message.body}" + (f"\n{message.link}" if message.link else "")
        body = {"msgtype": "text", "text": {"content": cut(words, TEXT_BYTES)}}
        answer = tencent.call("POST", target.token, name="wecom_robot", json=body)
        if answer["errcode"] in tencent.TOO_OFTEN:
            raise TryLater("wecom_robot_busy", self.WINDOW_S)
        if answer["errcode"] == tencent.BUSY:
            raise TryLater("wecom_robot_busy")
        if answer["errcode"]:
            raise Rejected(f"wecom_robot_{answer['errcode']}")
        return None

    def _count(self, webhook: str) -> None:
        """Count a message of this process; with several workers WeCom's own count is the last word."""
        now = time.monotonic()
        with self._lock:
            sent = self._sent[webhook]
            while sent and sent[0] <= now - self.WINDOW_S:
                sent.popleft()
            if len(sent) >= self.MOST:
                raise TryLater("wecom_robot_busy", sent[0] + self.WINDOW_S - now)
            sent.append(now)


def cut(words: str, most_bytes: int) -> str:
    """Return the beginning of a text that is no longer than so many bytes of UTF-8."""
    encoded = words.encode()
    return words if len(encoded) <= most_bytes else encoded[: most_bytes - 3].decode("utf-8", "ignore") + "…"
