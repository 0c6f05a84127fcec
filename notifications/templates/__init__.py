"""What each kind of notice says, in zh-CN and English.

A text is one line of words and ``{parameters}``. What stands in ``[ ]`` is left out unless all parameters in it are
there, so one text serves with and without a place, a distance, a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from backend.core.vocabulary import NoticeKind
from notifications.templates import en, phone_settings, zh_cn

TEXTS: dict[str, Mapping[NoticeKind, tuple[str, str]]] = {"zh-CN": zh_cn.TEXTS, "en": en.TEXTS}
WORDS: dict[str, Mapping[str, str]] = {"zh-CN": zh_cn.WORDS, "en": en.WORDS}

_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Text:
    """A notice in one language."""

    title: str
    body: str


def language_of(locale: str) -> str:
    """Return the language to write in: Chinese for every Chinese locale, else English."""
    return "zh-CN" if locale.lower().startswith("zh") else "en"


def fields_of(template: str) -> tuple[set[str], set[str]]:
    """Return the parameters without which a text cannot be, and those that it may have."""
    optional = {name for part in _OPTIONAL.findall(template) for name in _FIELD.findall(part)}
    return set(_FIELD.findall(_OPTIONAL.sub("", template))), optional


def value_of(name: str, value: Any, language: str, zone: ZoneInfo) -> str:
    """Return a parameter as people read it: words in their language, moments as the town's clock shows them."""
    if isinstance(value, Mapping):
        return str(value[language])
    if name == "at" or name.endswith("_at"):
        return datetime.fromisoformat(value).astimezone(zone).strftime("%H:%M")
    if name == "maker":
        return phone_settings.TEXTS[language][value]
    if name in ("level", "outcome", "decided"):
        return WORDS[language][f"{name}.{value}"]
    return str(value)


def render(kind: NoticeKind, params: Mapping[str, Any], language: str, zone: ZoneInfo) -> Text:
    """Write a notice. ``params`` are as ``kinds.checked`` returned them; ``zone`` is the town's."""
    shown = {name: value_of(name, value, language, zone) for name, value in params.items()}
    title, body = TEXTS[language][kind]
    return Text(_fill(title, shown), _fill(body, shown))


def _fill(template: str, shown: Mapping[str, str]) -> str:
    def part(match: re.Match[str]) -> str:
        return match[1] if all(name in shown for name in _FIELD.findall(match[1])) else ""

    return _FIELD.sub(lambda match: shown[match[1]], _OPTIONAL.sub(part, template)).strip()
