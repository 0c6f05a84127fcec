"""Every refusal in one shape: RFC 9457 ``application/problem+json`` with a literal, documented ``code``.

Refusals of workflows, of the framework (404, 405, 413, 415, 500) and of schema validation all pass here; what a
client never sees is a class name, a statement or a stack.
"""

import json
import traceback
from typing import Any

import structlog
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, UnprocessableEntity

from backend.core.errors import NotVisible, Refusal
from backend.core.failures import refusal_for
from mobile_api import fields

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 50
MOST_OF_A_NAME = 100
log = structlog.get_logger(__name__)

FRAMEWORK = {
    400: ("unreadable", "The request could not be read."),
    401: ("unauthenticated", "Please sign in."),
    403: ("forbidden", "Your role does not include this."),
    404: ("not_found", "Nothing is here."),
    405: ("method_not_allowed", "This address does not take that method."),
    406: ("not_acceptable", "This address cannot answer in that format."),
    408: ("timed_out", "The request took too long to arrive."),
    411: ("length_required", "The request has to say how long it is."),
    412: ("stale", "Somebody changed this meanwhile."),
    413: ("too_large", "The request is too large."),
    414: ("address_too_long", "The address is too long."),
    415: ("unsupported_media_type", "This content type is not read here."),
    416: ("range_not_satisfiable", "This part does not exist."),
    422: ("invalid", "Some fields are not acceptable."),
    429: ("too_many_requests", "Too many requests; please wait."),
    431: ("headers_too_large", "The request's headers are too large."),
    500: ("internal", "Something went wrong here; it was noted under the request's id."),
    503: ("unavailable", "The service is busy or a part of it is down; please try again."),
}

OF_FIELDS = {fields.WRONG_CLOCK: "clock_wrong"}
"""Messages about one field that have a code of their own, because a person can do something about them."""


def body(status: int, code: str, detail: str, request_id: str | None, **extra: Any) -> dict[str, Any]:
    """Return the members of a problem, also where no request of Flask's is being served."""
    title = FRAMEWORK.get(status, (code, detail))[1]
    members = {
        "type": f"urn:xungeng:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if request_id:
        members["request_id"] = request_id
    return members | {key: value for key, value in extra.items() if value is not None}


def document(status: int, code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """Return the body of a problem."""
    return body(status, code, detail, getattr(g, "request_id", None), **extra)


def answer(status: int, code: str, detail: str, *, headers: Any = None, **extra: Any) -> Response:
    """Return a problem as a response."""
    body = json.dumps(document(status, code, detail, **extra), ensure_ascii=False, default=str)
    response = Response(body, status=status, mimetype=MEDIA_TYPE)
    response.headers.update(headers or {})
    if request.method == "HEAD":
        response.set_data(b"")
    return response


def of(refusal: Refusal) -> dict[str, Any]:
    """Return the problem of a refusal as plain JSON, to be kept and answered again."""
    body = document(refusal.status, refusal.code, refusal.detail, **refusal.extra)
    return json.loads(json.dumps(body, default=str))


def from_refusal(refusal: Refusal) -> Response:
    """Return the problem of a workflow's refusal."""
    return answer(
        refusal.status, refusal.code, refusal.detail, headers=dict(refusal.headers), **refusal.extra
    )


def from_http_exception(error: HTTPException) -> Response:
    """Return the problem of a refusal by the framework; its own text never goes out."""
    if error.response is not None and error.code is None:
        return error.response  # type: ignore[return-value]
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]
    code, detail = FRAMEWORK.get(status, ("refused", "The request was refused."))
    kept = {
        k: v
        for k, v in (error.get_headers() or [])
        if k.lower() in ("allow", "retry-after", "www-authenticate")
    }
    errors = _validation_errors(error)
    for told, its_code in OF_FIELDS.items():
        if told in _texts(errors):
            code, detail = its_code, told
    return answer(status, code, detail, headers=kept, errors=errors)


def _texts(messages: Any) -> list[str]:
    """Return what is told about the fields, without their names, which the client chose."""
    if isinstance(messages, dict):
        messages = list(messages.values())
    if isinstance(messages, list):
        return [text for inner in messages for text in _texts(inner)]
    return [messages] if isinstance(messages, str) else []


def _validation_errors(error: HTTPException) -> Any:
    """Return webargs' messages, without the location level where there is only one."""
    messages = getattr(getattr(error, "exc", None), "messages", None)
    if not isinstance(error, UnprocessableEntity) or not isinstance(messages, dict):
        return None
    return shortened(next(iter(messages.values())) if len(messages) == 1 else messages, [MOST_ERRORS])


def shortened(messages: Any, left: list[int]) -> Any:
    """Return the first messages, so that no answer is larger than what was asked; ``left`` is how many to keep."""
    if isinstance(messages, dict):
        kept: dict[str, Any] = {}
        for name, inner in messages.items():
            if left[0] <= 0:
                break
            kept[str(name)[:MOST_OF_A_NAME]] = shortened(inner, left)
        return kept
    if isinstance(messages, list):
        few = messages[: max(1, left[0])]
        left[0] -= len(few)
        return few
    left[0] -= 1
    return messages


def install(app: Flask) -> None:
    """Register the handlers; nothing else in the project turns an exception into an answer."""

    @app.errorhandler(Refusal)
    def refused(refusal: Refusal) -> Response:
        if isinstance(refusal, NotVisible) and request.view_args:
            app.extensions["xungeng.limits"].count_miss(request)
        return from_refusal(refusal)

    @app.errorhandler(HTTPException)
    def http_refused(error: HTTPException) -> Response:
        return from_http_exception(error)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        known = refusal_for(error)
        if known is not None:
            return from_refusal(known)
        log.error(
            "request.failed",
            error=type(error).__name__,
            where=where(error),
            path=request.url_rule and request.url_rule.rule,
        )
        if app.config.get("PROPAGATE_FAILURES"):
            raise error
        return answer(500, *FRAMEWORK[500])


def where(error: Exception) -> list[str]:
    """Return the frames without their values: a value may be somebody's phone number."""
    return [
        f"{frame.filename}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-12:]
    ]
