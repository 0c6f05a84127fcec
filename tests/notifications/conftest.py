"""A town whose people have addresses, and an installation whose channels are set up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, text

from backend.core.ids import new_id
from backend.core.notice_settings import (
    Gateway,
    Mail,
    NoticeSettings,
    Parameter,
    ProviderTemplate,
    WechatApp,
    WecomApp,
)
from backend.core.uow import UnitOfWork
from backend.core.vocabulary import NoticeChannel, NoticeKind
from notifications import reach
from tests import factories
from tests.factories import Person, Town

SMS_TEMPLATE = ProviderTemplate("SMS_1", {"what": Parameter("title", 20)}, "巡更")
EVERY_KIND = dict.fromkeys(NoticeKind, SMS_TEMPLATE)


def everything(**changed: Any) -> NoticeSettings:
    """Settings with every channel set up; nobody listens at these addresses."""
    given: dict[str, Any] = {
        "fcm_credentials": Path("/nowhere/fcm.json"),
        "webpush_contact": "mailto:ops@example.cn",
        "wecom": WecomApp("corp", 1, "secret"),
        "wechat_mini": WechatApp("mini", "secret"),
        "wechat_service": WechatApp("service", "secret"),
        "sms": Gateway("http://127.0.0.1:9/sms", "token"),
        "voice": Gateway("http://127.0.0.1:9/voice", "token"),
        "mail": Mail("127.0.0.1", 9, "ops@example.cn"),
        "templates": {
            NoticeChannel.SMS: EVERY_KIND,
            NoticeChannel.VOICE: EVERY_KIND,
            NoticeChannel.WECHAT_MINI: dict.fromkeys(
                NoticeKind, ProviderTemplate("MINI_1", {"thing1": Parameter("title", 20)})
            ),
            NoticeChannel.WECHAT_SERVICE: EVERY_KIND,
        },
    }
    return NoticeSettings(**(given | changed))


@pytest.fixture(autouse=True)
def _reach() -> Iterator[None]:
    reach.use(everything())
    yield
    reach.use(NoticeSettings())


@pytest.fixture(scope="module")
def town(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"notices-{new_id().hex[-12:]}")


@pytest.fixture(scope="module")
def elsewhere(owner_engine: Engine) -> Town:
    return factories.make_town(owner_engine, f"elsewhere-{new_id().hex[-12:]}")


@pytest.fixture
def here(uow: UnitOfWork, town: Town) -> UnitOfWork:
    """A unit of work in the town."""
    uow.enter_town(town.id)
    return uow


def address(uow: UnitOfWork, person: Person, channel: str, token: str = "", **more: Any) -> UUID:
    """Give somebody an address."""
    row = {
        "id": new_id(), "town": person.town_id, "user": person.id, "channel": channel, "now": uow.now,
        "token": token or f"{channel}-{new_id().hex}", "session": more.get("session"),
        "keys": '{"p256dh": "x", "auth": "y"}' if channel == "webpush" else None,
    }  # fmt: skip
    uow.session.execute(
        text(
            "insert into addresses (id, town_id, user_id, channel, token, keys, session_id, created_at)"
            " values (:id, :town, :user, :channel, :token, cast(:keys as jsonb), :session, :now)"
        ),
        row,
    )
    return row["id"]


def session(uow: UnitOfWork, person: Person) -> UUID:
    """Sign somebody in."""
    session_id = new_id()
    uow.session.execute(
        text(
            "insert into sessions (id, town_id, user_id, client, created_at, last_used_at, expires_at)"
            " values (:id, :town, :user, 'officer', :now, :now, :until)"
        ),
        {
            "id": session_id, "town": person.town_id, "user": person.id, "now": uow.now,
            "until": uow.now + timedelta(days=1),
        },
    )  # fmt: skip
    return session_id


def deliveries(uow: UnitOfWork, notice_id: UUID) -> list[Any]:
    """The deliveries of a notice in their order."""
    return list(
        uow.session.execute(
            text("select * from deliveries where notice_id = :id order by position"), {"id": notice_id}
        )
    )


def notice(uow: UnitOfWork, notice_id: UUID) -> Any:
    return uow.session.execute(text("select * from notices where id = :id"), {"id": notice_id}).one()
