"""What the town asks of whoever is at a place: questions with their types of answer, and whether an answer fits."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from backend.core.errors import Invalid

LONGEST_TEXT = 2000
MOST_PHOTOS = 6
"""So many photos may be the answer to one question."""
PLAIN = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]*")
"""Without control and direction-changing characters, as every text of several lines."""
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check(asked: Sequence[Mapping[str, Any]]) -> None:
    """Refuse questions that cannot be answered.

    Raises:
        Invalid: an id occurs twice, or choices and type do not fit.
    """
    check_ids("questions", asked)
    for question in asked:
        check_ids("questions", question["choices"])
        if (question["answer"] == "choice") != (len(question["choices"]) >= 2):
            raise Invalid(
                "A choice has two answers or more, and no other question has any.", questions=["choices"]
            )


def check_ids(name: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Refuse ids that occur twice.

    Raises:
        Invalid: ``name`` says in which field.
    """
    if len({item["id"] for item in items}) != len(items):
        raise Invalid("An id stands for one thing only.", **{name: ["id twice"]})


def check_given(name: str, asked: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> None:
    """Refuse what is not asked, and what is required and missing.

    Raises:
        Invalid: ``name`` lists the ids.
    """
    if unknown := sorted(set(given) - {item["id"] for item in asked}):
        raise Invalid("That is not asked here.", **{name: unknown})
    missing = [item["id"] for item in asked if item.get("required") and item["id"] not in given]
    if missing:
        raise Invalid("Something that is asked for is missing.", **{name: missing})


def check_answers(asked: Sequence[Mapping[str, Any]], answers: Mapping[str, Any]) -> None:
    """Refuse answers that do not fit the questions.

    Raises:
        Invalid: an unknown id, a required answer that is missing, or one of another type.
    """
    check_given("answers", asked, answers)
    unfit = [
        question["id"]
        for question in asked
        if question["id"] in answers and not _fits(question, answers[question["id"]])
    ]
    if unfit:
        raise Invalid("An answer is not what its question asks for.", answers=unfit)


def photos_in(asked: Sequence[Mapping[str, Any]], answers: Mapping[str, Any]) -> dict[str, list[UUID]]:
    """Return the ids of the photos that were given as answers, by question; the answers fit (:func:`check_answers`)."""
    asking = [question["id"] for question in asked if question["answer"] == "photo"]
    return {one: [UUID(photo_id) for photo_id in answers[one]] for one in asking if one in answers}


def _fits(question: Mapping[str, Any], value: Any) -> bool:
    match question["answer"]:
        case "yes_no":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case "choice":
            return value in [choice["id"] for choice in question["choices"]]
        case "photo":
            return _are_photos(value)
        case _:
            return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and bool(PLAIN.fullmatch(value))


def _are_photos(value: Any) -> bool:
    """Say whether a value is a list of ids of photos, each once and written as ids are."""
    if not isinstance(value, list) or not 0 < len(value) <= MOST_PHOTOS:
        return False
    return all(isinstance(one, str) and ID.fullmatch(one) for one in value) and len(set(value)) == len(value)
