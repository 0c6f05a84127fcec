"""The rules of every kind of notice, on one screen: how urgent, whom it may reach, what it says, how long it waits.

Whoever sends a notice gives ``params`` by these names and no others. They hold ids, numbers and words for places: never
a phone, a person's name or what somebody wrote, because they travel through other people's servers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from backend.core.vocabulary import LOCALES, DutyLevel, NoticeKind, PhoneMaker, Role

URGENT, HIGH, NORMAL, LOW = range(4)
"""Priorities. ``URGENT`` is somebody in danger: it waits behind nothing, and no quiet hours and no settings hold it."""

K = NoticeKind
OFFICER = frozenset({Role.OFFICER})
DESK = frozenset({Role.DISPATCHER, Role.SUPERVISOR})
PEOPLE = frozenset({Role.RESIDENT, Role.BUILDING_HEAD})


@dataclass(frozen=True)
class Rule:
    """What holds for one kind.

    Attributes:
        roles: a recipient holds one of these in the town, or is not told, whoever named him.
        needs: parameters without which the notice says nothing.
        takes: parameters that it may have beside them.
        next_after_s: an unconfirmed notice goes to the next channel after so many seconds; None: it goes there only
            when a channel could not take it.
        to_group: the desk's group robot says it as well, once for all recipients.
        duty: an officer on shift needs it for what he does now, so his quiet hours do not hold it; off shift they do.
    """

    priority: int
    roles: frozenset[Role]
    needs: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()
    next_after_s: int | None = None
    to_group: bool = False
    duty: bool = False

    @property
    def params(self) -> frozenset[str]:
        return self.needs | self.takes


def rule(
    priority: int,
    roles: frozenset[Role],
    needs: str = "",
    takes: str = "",
    *,
    next_after_s: int | None = None,
    to_group: bool = False,
    duty: bool = False,
) -> Rule:
    """Write one row of the table."""
    return Rule(
        priority, roles, frozenset(needs.split()), frozenset(takes.split()), next_after_s, to_group, duty
    )


TASK = "what place area_id"
ALARM = "what place area_id number level officer_id call_sign"

RULES: dict[NoticeKind, Rule] = {
    #                        priority whom           needs      may have
    K.TASK_OFFERED:     rule(HIGH,   OFFICER,        "number", f"{TASK} distance_m answer_min due_at", next_after_s=30,
                             duty=True),
    K.TASK_ACCEPTED:    rule(NORMAL, DESK,           "number", f"{TASK} officer_id call_sign eta_min"),
    K.TASK_DECLINED:    rule(HIGH,   DESK,           "number", f"{TASK} officer_id call_sign"),
    K.TASK_LAPSED:      rule(HIGH,   DESK | OFFICER, "number", f"{TASK} officer_id call_sign", duty=True),
    K.TASK_HANDED_BACK: rule(HIGH,   DESK,           "number", f"{TASK} officer_id call_sign"),
    K.TASK_RESOLVED:    rule(NORMAL, DESK,           "number", f"{TASK} officer_id call_sign"),
    K.TASK_REWORKED:    rule(HIGH,   OFFICER,        "number", f"{TASK} due_at", next_after_s=120, duty=True),
    K.TASK_CANCELLED:   rule(HIGH,   OFFICER | DESK, "number", TASK, next_after_s=120, duty=True),
    K.TASK_WITHDRAWN:   rule(HIGH,   OFFICER,        "number", TASK, duty=True),
    K.TASK_REFERRED:    rule(HIGH,   OFFICER,        "number", TASK, next_after_s=120, duty=True),
    K.TASK_REASSIGNED:  rule(HIGH,   OFFICER | DESK, "number", f"{TASK} officer_id call_sign", duty=True),
    K.TASK_SUSPENDED:   rule(HIGH,   OFFICER | DESK, "number", f"{TASK} officer_id call_sign", duty=True),
    K.TASK_RESUMED:     rule(NORMAL, OFFICER | DESK, "number", f"{TASK} officer_id call_sign", duty=True),
    K.TASK_OVERDUE:     rule(HIGH,   DESK | OFFICER, "number", f"{TASK} due_at level officer_id call_sign",
                             next_after_s=120, duty=True),
    K.ALARM_RAISED:     rule(HIGH,   DESK,           "",       ALARM, next_after_s=60, to_group=True),
    K.ALARM_ESCALATED:  rule(HIGH,   DESK,           "",       f"{ALARM} minutes", next_after_s=60, to_group=True),
    K.ALARM_CLEARED:    rule(LOW,    DESK,           "",       ALARM),
    K.SOS_RAISED:       rule(URGENT, DESK | OFFICER, "",       f"{ALARM} distance_m at", next_after_s=20,
                             to_group=True),
    K.SOS_ACKNOWLEDGED: rule(URGENT, OFFICER | PEOPLE | DESK, "", "place at by_id"),
    K.SOS_ANSWERED:     rule(URGENT, OFFICER | PEOPLE | DESK, "", "place officer_id call_sign eta_min",
                             next_after_s=20),
    K.OFFICER_SILENT:   rule(HIGH,   OFFICER | DESK, "minutes", "maker officer_id call_sign area_id", next_after_s=60,
                             duty=True),
    K.ROLL_CALL_CALLED: rule(HIGH,   OFFICER,        "answer_min", "area_id at", next_after_s=30, duty=True),
    K.ROLL_CALL_ENDED:  rule(HIGH,   DESK,           "answered missing", "place area_id"),
    K.BROADCAST_SENT:   rule(HIGH,   OFFICER,        "",       "area_id", next_after_s=60, duty=True),
    K.BROADCAST_ENDED:  rule(NORMAL, DESK,           "answered missing", "place area_id"),
    K.REPORT_ANSWERED:  rule(NORMAL, OFFICER,        "number", "what place outcome"),
    K.PATROL_LATE:      rule(HIGH,   OFFICER | DESK, "number", "what place area_id due_at", duty=True),
    K.PATROL_MISSED:    rule(NORMAL, OFFICER | DESK, "number", "what place area_id"),
    K.PATROL_DEVIATED:  rule(NORMAL, OFFICER,        "number", "what place area_id distance_m", duty=True),
    K.APPRAISAL_OPENED: rule(NORMAL, OFFICER,        "month",  "last_day"),
    K.APPRAISAL_DECIDED: rule(NORMAL, OFFICER,       "month decided", ""),
    K.APPRAISAL_CLOSING: rule(NORMAL, OFFICER | DESK, "month", "last_day open"),
    K.ROSTER_CHANGED:   rule(NORMAL, OFFICER,        "",       "what number place area_id"),
    K.REQUEST_ASKED:    rule(HIGH,   OFFICER,        "",       "what place area_id"),
    K.REQUEST_SUBMITTED: rule(NORMAL, DESK,          "",       "what place area_id"),
    K.REQUEST_DECIDED:  rule(HIGH,   OFFICER,        "outcome", "what place area_id"),
    K.HAND_OVER_GIVEN:  rule(HIGH,   OFFICER,        "",       "place area_id number", next_after_s=60, duty=True),
    K.HAND_OVER_ANSWERED: rule(HIGH, OFFICER,        "outcome", "place area_id", duty=True),
    K.POST_LATE:        rule(HIGH,   OFFICER | DESK, "number", "what place area_id due_at", duty=True),
    K.POST_MISSED:      rule(NORMAL, OFFICER | DESK, "number", "what place area_id"),
    K.POST_LEFT:        rule(HIGH,   OFFICER | DESK, "number", "what place area_id at officer_id call_sign", duty=True),
    K.POST_RELIEF_ASKED: rule(HIGH,  OFFICER,        "number", "what place area_id call_sign", next_after_s=60,
                             duty=True),
    K.DUTY_LEVEL_SWITCHED: rule(HIGH, OFFICER | DESK, "duty_level", "place area_id due_at", next_after_s=120,
                             duty=True),
    K.DUTY_LEVEL_ENDED: rule(NORMAL, OFFICER | DESK, "duty_level", "place area_id", duty=True),
}  # fmt: skip


class BadParamsError(ValueError):
    """The parameters are not those of the kind: a mistake of whoever wrote the call, never of a person."""


_PHONE = re.compile(r"\d[\d -]{5,}\d")
_CONTROL = re.compile("[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
WORD_MOST = 80
BEGINNING = 4
"""So much of a long number stays: enough to know one's own street by, and nobody's phone."""


def _word(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= WORD_MOST or _CONTROL.search(value):
        raise ValueError(f"a line of {WORD_MOST} characters at most")
    if _PHONE.search(value):
        raise ValueError("words, and no long number that could be a phone's")
    return value


def fitted(words: str | Mapping[str, str]) -> str | dict[str, str]:
    """Return a name out of the town's data as a notice may carry it.

    People name crews and areas as they like, ``1001-1003弄`` among them, and no call for help fails by a name: what is
    too long is cut, and of a long number that could be a phone's the beginning is left.
    """
    if isinstance(words, Mapping):
        return {
            language: _fitted(words.get(language) or next(iter(words.values()), "")) for language in LOCALES
        }
    return _fitted(words)


def _fitted(word: str) -> str:
    plain = _CONTROL.sub(" ", word).strip() or "-"
    return _PHONE.sub(lambda found: found[0][:BEGINNING] + "…", plain)[:WORD_MOST]


def _words(value: Any) -> str | dict[str, str]:
    """A word, or the same in both languages as the town's data have it."""
    if isinstance(value, Mapping):
        if set(value) != {"zh-CN", "en"}:
            raise ValueError("both languages, zh-CN and en")
        return {language: _word(text) for language, text in value.items()}
    return _word(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10_000_000:
        raise ValueError("a number from 0 to 9,999,999")
    return round(value)


def _id(value: Any) -> str:
    return str(value if isinstance(value, UUID) else UUID(str(value)))


def _moment(value: Any) -> str:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError("a moment with its zone")
    return moment.isoformat()


def _month(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"20\d\d-(?:0[1-9]|1[0-2])", value):
        raise ValueError("a month such as 2026-11")
    return value


def _day(value: Any) -> str:
    return (value if isinstance(value, date) else date.fromisoformat(str(value))).isoformat()


def _one_of(*words: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if str(value) not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return str(value)

    return check


PARAMS: dict[str, Callable[[Any], Any]] = {
    "number": _count,
    "what": _words,
    "place": _words,
    "call_sign": _word,
    "distance_m": _count,
    "eta_min": _count,
    "answer_min": _count,
    "minutes": _count,
    "answered": _count,
    "missing": _count,
    "due_at": _moment,
    "at": _moment,
    "area_id": _id,
    "officer_id": _id,
    "by_id": _id,
    "level": _one_of("dispatcher", "supervisor"),
    "maker": _one_of(*PhoneMaker),
    "duty_level": _one_of(*DutyLevel),
    "month": _month,
    "last_day": _day,
    "open": _count,
    "decided": _one_of("upheld", "refused"),
    "outcome": _one_of(
        "handled",
        "task_made",
        "closed",
        "referred",
        "refused",
        "approved",
        "rejected",
        "declined",
        "lapsed",
        "taken",
    ),
}
"""What each parameter is. ``number`` is a task's or case's short number in its town, ``what`` the kind of task or alarm
and ``place`` a place as people call it: a word, or ``{"zh-CN": …, "en": …}``; moments are aware; ``*_min`` and
``minutes`` are minutes, ``distance_m`` metres; ``answered`` and ``missing`` are people. ``month`` is a month of
appraisal (``2026-11``), ``last_day`` a day of the town, and ``open`` how many objections in it wait for somebody."""


def checked(kind: NoticeKind, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``params`` as they are stored: JSON, without what is None.

    Raises:
        BadParamsError: one is missing, unknown to the kind, or not what its name says.
    """
    given = {name: value for name, value in params.items() if value is not None}
    known = RULES[kind]
    if missing := known.needs - given.keys():
        raise BadParamsError(f"{kind} needs {', '.join(sorted(missing))}.")
    if unknown := given.keys() - known.params:
        raise BadParamsError(
            f"{kind} takes {', '.join(sorted(known.params))}, and not {', '.join(sorted(unknown))}."
        )
    stored = {}
    for name, value in given.items():
        try:
            stored[name] = PARAMS[name](value)
        except (ValueError, TypeError) as error:
            raise BadParamsError(f"{kind}: {name} has to be {error}.") from error
    return stored
