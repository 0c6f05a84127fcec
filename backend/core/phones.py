"""Phone numbers: one way to write each (E.164), and where short messages may go."""

import re
from collections.abc import Iterable

MAINLAND_MOBILES = tuple(f"+861{digit}" for digit in "3456789")
DEMO_PHONES = "+86100"
"""No number of the mainland begins so; those of the demo town do, and nobody's phone can ring."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_MOBILE_SHAPED = re.compile(r"\+861[0-9]*")
_MOBILE_LENGTH = len("+86") + 11


def e164(text: str) -> str | None:
    """Return a number as E.164 has it, or None if it is none.

    Blanks, dashes and brackets are dropped, ``00`` in front is ``+``, and eleven digits that begin with 1 are a number
    of the mainland. Any other zero in front is refused: one phone would have several numbers, and be counted for each.
    """
    bare = re.sub(r"[\s()-]", "", text)
    if bare.startswith("00"):
        bare = "+" + bare[2:]
    elif len(bare) == 11 and bare.startswith("1"):
        bare = "+86" + bare
    elif bare[:1] in "123456789":
        bare = "+" + bare
    if not _E164.fullmatch(bare) or (_MOBILE_SHAPED.fullmatch(bare) and len(bare) != _MOBILE_LENGTH):
        return None
    return bare


def is_served(phone: str, prefixes: Iterable[str]) -> bool:
    """Say whether codes are sent to a number."""
    return phone.startswith(tuple(prefixes))
