"""What our servers serve, in processes that die between the commit and the answer when a batch asks for it (F02).

``granian --interface rsgi tests.durability.dying:ingest`` and ``gunicorn … tests.durability.dying:app``. A batch asks
by a fix at the altitude ``DOOMED_M``. Once it is stored it is not answered, and as soon as ``DIE_AFTER`` (from the
environment) such batches are, the process kills itself. Sent again, their fixes are duplicates, so they kill nobody.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from backend import wsgi
from tests.durability.phones import DOOMED_M
from workflows.grouped_write import Delivery, Receipt
from workflows.grouping import Grouping, _Entry

DIE_AFTER = int(os.environ.get("DIE_AFTER", "1"))
Group = Sequence[_Entry[Delivery, Receipt]]

_release = Grouping._release
_unanswered: list[_Entry[Delivery, Receipt]] = []


def release_or_die(self: Grouping[Delivery, Receipt], group: Group) -> None:
    """Let the requests of a group go on that was committed, but for those that come to an end here."""
    doomed = [
        entry
        for entry in group
        if entry.answer is not None
        and entry.answer.stored
        and any(fix.altitude_m == DOOMED_M for fix in entry.item.fixes)
    ]
    _unanswered.extend(doomed)
    if len(_unanswered) >= DIE_AFTER:
        os.kill(os.getpid(), signal.SIGKILL)
    _release(self, [entry for entry in group if entry not in doomed])


Grouping._release = release_or_die  # type: ignore[method-assign]


def __getattr__(name: str) -> Any:
    return getattr(wsgi, name)
