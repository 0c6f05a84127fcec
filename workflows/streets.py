"""Coverage of streets: which parts of the town's roads somebody on shift passed, and where nobody has been."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from backend.core.identity import Actor
from backend.core.paging import Page, bad_cursor, page
from backend.core.uow import UnitOfWork
from geo import streets
from geo.fixes import Fix
from geo.streets import Passing, Street
from workflows import access
from workflows.closed_days import zone_of


def keep(uow: UnitOfWork, ways: Iterable[Sequence[Fix | Passing]]) -> None:
    """Keep which parts of roads the ways of devices pass."""
    streets.cut(uow.session, uow.town)
    places = [place for way in ways for place in streets.passings(way)]
    streets.keep(uow.session, uow.town, zone_of(uow).key, places)


def tile(uow: UnitOfWork, actor: Actor, z: int, x: int, y: int, *, days: int) -> bytes:
    """Return a vector tile of the parts of roads in the actor's areas, with the days since somebody passed them."""
    today = uow.now.astimezone(zone_of(uow)).date()
    return streets.tile(
        uow.session, uow.town, z, x, y, scope=access.roots(actor, "see", "visit"),
        since=today - timedelta(days=days - 1), today=today,
    )  # fmt: skip


def at_desk(
    uow: UnitOfWork, actor: Actor, *, days: int, after: Sequence[str] | None, limit: int
) -> Page[Street]:
    """Return the streets in the actor's areas, those first that nobody passed for longest, within so many days."""
    key = _key(after) if after is not None else None
    today = uow.now.astimezone(zone_of(uow)).date()
    found = streets.streets(
        uow.session, uow.town, scope=access.roots(actor, "see", "visit"), since=today - timedelta(days=days - 1),
        today=today, after=key, limit=limit + 1,
    )  # fmt: skip
    return page(
        found,
        limit,
        lambda one: (
            one.last_passed_at.isoformat() if one.last_passed_at else "epoch",
            one.name["zh-CN"],
            one.kind,
        ),
    )


def _key(after: Sequence[str]) -> tuple[str, str, str]:
    try:
        at, name, kind = after
        if (at != "epoch" and datetime.fromisoformat(at).tzinfo is None) or "\x00" in name + kind:
            raise ValueError
    except (ValueError, TypeError):
        raise bad_cursor() from None
    return at, name, kind
