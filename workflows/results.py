"""What came of a task: what its officer says, or who took it over at 110."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Result:
    """What came of a task. ``evidence_ids`` are references; they stand for photos that may still be on the phone."""

    text: str
    checklist: Mapping[str, bool] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    evidence_ids: Sequence[UUID] = ()

    def document(self) -> dict[str, Any]:
        """Return it as it is stored with the task."""
        return {
            "text": self.text,
            "checklist": dict(self.checklist),
            "answers": dict(self.answers),
            "evidence_ids": [str(one) for one in self.evidence_ids],
        }


@dataclass(frozen=True)
class Referral:
    """Who took a task over at 110 (移交公安): the number of the police's case, the officer, and when it was."""

    case_number: str
    taken_by: str
    handed_at: datetime
    badge: str | None = None

    def document(self, *, by: UUID | None, reason: str) -> dict[str, Any]:
        """Return it as it is stored with the task: with who handed it over, and why."""
        return {
            "case_number": self.case_number,
            "taken_by": self.taken_by,
            "badge": self.badge,
            "handed_at": self.handed_at.isoformat(),
            "reason": reason,
            "by_id": str(by),
        }
