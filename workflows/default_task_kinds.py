"""The kinds of task that a new town begins with. From then on they are the town's own data."""

from typing import Any

from backend.core.vocabulary import OfficerKind, Priority

_NOBODY_ELSE = [OfficerKind.POLICE, OfficerKind.AUXILIARY, OfficerKind.PATROL]


def _text(item_id: str, zh: str, en: str, **more: Any) -> dict[str, Any]:
    return {"id": item_id, "text": {"zh-CN": zh, "en": en}, **more}


def _item(item_id: str, zh: str, en: str, *, required: bool = True) -> dict[str, Any]:
    return _text(item_id, zh, en, required=required)


def _asks(
    item_id: str, zh: str, en: str, answer: str, *choices: dict[str, Any], required: bool = False
) -> dict[str, Any]:
    return _text(item_id, zh, en, answer=answer, choices=list(choices), required=required)


def _kind(
    code: str,
    zh: str,
    en: str,
    priority: Priority = Priority.NORMAL,
    *,
    minutes: tuple[int | None, int | None, int | None],
    checklist: tuple[dict[str, Any], ...] = (),
    questions: tuple[dict[str, Any], ...] = (),
    needed: int = 1,
    officer_kinds: list[OfficerKind] | None = None,
    wants_evidence: bool = False,
    reportable: bool = True,
    offer_s: int = 90,
) -> dict[str, Any]:
    """``minutes`` are those within which it is to be accepted, reached and completed."""
    accept, arrive, complete = (None if m is None else m * 60 for m in minutes)
    return {
        "code": code, "name": {"zh-CN": zh, "en": en}, "priority": priority, "officer_kinds": officer_kinds or [],
        "skill": None, "needed": needed, "checklist": list(checklist), "questions": list(questions),
        "wants_evidence": wants_evidence, "reportable": reportable, "offer_s": offer_s, "accept_within_s": accept,
        "arrive_within_s": arrive, "complete_within_s": complete,
    }  # fmt: skip


_SETTLED = _asks(
    "outcome", "处理结果", "How it ended", "choice",
    _text("settled", "当场化解", "settled on the spot"),
    _text("passed_on", "转交有关部门", "passed on"),
    _text("police", "移交公安", "handed over to the police"),
    required=True,
)  # fmt: skip
_INJURED = _asks("injured", "有无人员受伤", "Is anybody hurt?", "yes_no", required=True)

DEFAULTS: tuple[dict[str, Any], ...] = (
    _kind(
        "sos", "紧急求援", "SOS", Priority.CRITICAL, minutes=(1, 5, None), needed=2, officer_kinds=_NOBODY_ELSE,
        offer_s=60, questions=(_INJURED,), reportable=False,
    ),
    _kind(
        "check", "现场核查", "Check on site", minutes=(3, 20, 60), wants_evidence=True, reportable=False,
        questions=(_asks("found", "情况是否属实", "Is it as reported?", "yes_no", required=True),),
    ),
    _kind(
        "dispute", "纠纷", "Dispute", Priority.HIGH, minutes=(2, 10, 90), needed=2,
        checklist=(_item("separated", "双方已分开", "The two sides are apart"),),
        questions=(_INJURED, _SETTLED, _asks("people", "涉及人数", "How many people", "number")),
    ),
    _kind("noise", "噪声扰民", "Noise", minutes=(5, 20, 60), questions=(_SETTLED,)),
    _kind(
        "lost_person", "走失寻人", "Lost person", Priority.HIGH, minutes=(2, 10, None), needed=3,
        questions=(_asks("found", "是否找到", "Found?", "yes_no", required=True),),
    ),
    _kind(
        "fire_hazard", "消防隐患", "Fire hazard", Priority.HIGH, minutes=(3, 15, 60), wants_evidence=True,
        checklist=(
            _item("passage", "疏散通道畅通", "Escape route is clear"),
            _item("extinguisher", "灭火器有效", "Extinguishers are valid", required=False),
        ),
        questions=(
            _asks(
                "hazard", "隐患类型", "What kind of hazard", "choice",
                _text("blocked", "通道堵塞", "blocked passage"), _text("charging", "电动车违规充电", "e-bike charging"),
                _text("wiring", "私拉电线", "makeshift wiring"), _text("other", "其他", "other"), required=True,
            ),
        ),
    ),
    _kind(
        "illegal_parking", "违停", "Illegal parking", Priority.LOW, minutes=(10, 30, 60), wants_evidence=True,
        questions=(
            _asks("plate", "车牌号", "Number plate", "text"),
            _asks("moved", "是否已挪车", "Moved?", "yes_no", required=True),
        ),
    ),
    _kind("escort", "护送", "Escort", minutes=(5, 15, None), reportable=False),
    _kind(
        "suspicious", "可疑人员", "Suspicious person", Priority.HIGH, minutes=(2, 10, 60), needed=2,
        officer_kinds=_NOBODY_ELSE, questions=(_SETTLED,),
    ),
    _kind("help", "求助服务", "Help for a resident", minutes=(5, 30, 120)),
    _kind("facility", "设施损坏", "Damaged facility", Priority.LOW, minutes=(10, 60, 240), wants_evidence=True),
    _kind("event", "活动秩序", "Order at an event", minutes=(10, 30, None), needed=2, reportable=False),
    _kind("other", "其他", "Other", minutes=(5, 30, 120)),
)  # fmt: skip
