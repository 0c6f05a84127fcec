"""How an endpoint is declared: its audience, who may, how often, what goes in and what comes out, in one decorator.

``Door`` is a flask-smorest blueprint that has no other way to add a route, so none can exist without a policy
(``unpolicied`` lists those that were smuggled in, and the app refuses to start with any). The decorator opens the unit
of work, reads the actor in it, checks the permission, calls the view and answers with the schema:

* ``query`` and ``look``: nothing is stored but disclosures; a ``look`` states its reason in a body.
* ``command``: an act of one of our own clients. It takes an ``Idempotency-Key``; the answer, a refusal too, is kept
  with the act in one transaction, and the same key answers the same again without doing anything.
* ``open_act``: an act before anybody is known (signing in), which opens its own units of work.
"""

import functools
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any
from uuid import UUID

from flask import Flask, Response, current_app, g, request
from flask_smorest import Blueprint
from marshmallow import Schema, fields, validate
from werkzeug.exceptions import HTTPException

from backend.core.errors import Refusal, TooMany, Unauthenticated, Unreadable, Unsupported
from backend.core.failures import refusal_for
from backend.core.identity import Actor
from backend.core.tokens import AccessClaims, derive_key
from backend.core.uow import UnitOfWork, unit_of_work
from backend.core.vocabulary import Audience
from mobile_api import limits, problems, strict_json
from mobile_api.identity import bearer, identity
from workflows import access, commands
from workflows.throttling import Bound, Throttling

JSON = "application/json"
PROBLEM_TEXT = {
    400: "Unreadable.",
    401: "Not signed in.",
    403: "Not in your role.",
    404: "Not there, or not yours.",
    409: "Contradicts the present state.",
    412: "Changed since it was read.",
    413: "Too large.",
    415: "A content type that is not read.",
    416: "Beyond the end.",
    422: "Fields that are not acceptable.",
    429: "Too often.",
    503: "Busy, or a part is down.",
}


class ProblemSchema(Schema):
    """RFC 9457 problem document."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    code = fields.String(required=True, metadata={"description": "Literal and stable; act on this."})
    detail = fields.String(required=True)
    request_id = fields.String()
    errors = fields.Dict(metadata={"description": "Messages by field."})
    current = fields.String(metadata={"description": "With 409: the state the thing is in."})
    actions = fields.List(fields.String(), metadata={"description": "With 409: what is possible instead."})
    retry_after_s = fields.Integer()
    from_at = fields.DateTime(
        metadata={"description": "With `too_early` and `month_not_over`: from when on it is possible."}
    )
    officer_ids = fields.List(
        fields.UUID(), metadata={"description": "With `not_on_shift`: who of those named is not."}
    )
    routes = fields.List(
        fields.Integer(), metadata={"description": "With `checkpoint_needed`: numbers of the routes."}
    )
    plan_ids = fields.List(
        fields.UUID(), metadata={"description": "With `route_needed`: the plans that go by it."}
    )
    tasks = fields.List(
        fields.Dict(), metadata={"description": "With `open_tasks`: id, number, state, officer_id."}
    )


@dataclass(frozen=True)
class Policy:
    """What holds for one route: the contract tests and the start-up check read it."""

    audience: Audience
    may: tuple[str, str] | None
    limit: limits.Limit
    command: bool
    body_limit: int | None = None
    reads: str | None = None
    """The media type of the body that the route reads, if it reads one."""
    named_by_body: bool = False
    """Who calls is said by the body alone: the view counts the call for him (``count_for``), and what fails before
    that counts for the address."""
    spare: limits.Limit | None = None
    """How often a call beyond the limit is answered all the same, for what must not be refused because somebody was
    busy: those who are not signed in are told so, and nobody's calls count for an address."""


class CommandHeadersSchema(Schema):
    """What every command brings with it."""

    key = fields.UUID(
        required=True,
        data_key="Idempotency-Key",
        metadata={"description": "Made by the client, one for each act; a retry repeats it."},
    )


class ChangeHeadersSchema(CommandHeadersSchema):
    """What a change brings with it: the version that it was decided on."""

    version = fields.String(
        required=True,
        data_key="If-Match",
        validate=validate.Regexp(r'^(?:"[0-9]{1,9}"|[0-9]{1,9})\Z'),
        metadata={"description": "`version` of what was read; another one by now is answered 412."},
    )


class Door(Blueprint):
    """A blueprint of one audience. Use ``query``, ``command`` and ``open_act``; ``route`` alone leaves no policy."""

    def __init__(
        self, name: str, audience: Audience, prefix: str, description: str, *, body_limit: int | None = None
    ) -> None:
        """Make the blueprint; ``body_limit`` is the most bytes that its routes read, unless one says otherwise."""
        super().__init__(
            f"{audience}-{name}", __name__, url_prefix=f"/api/v1/{audience}{prefix}", description=description
        )
        self.audience = audience
        self.body_limit = body_limit

    def query(
        self,
        rule: str,
        *,
        may: tuple[str, str] | None,
        answers: type[Schema] | Schema | None = None,
        arguments: type[Schema] | None = None,
        limit: limits.Limit = limits.SEE,
        refuses: tuple[int, ...] = (),
        media: str | None = None,
        nothing: str | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a look. The view gets ``(uow, actor, **path[, query])`` and returns what the schema dumps.

        ``may=None`` is an open look: the view gets no actor, and its unit of work has entered no town. With ``media``
        the view returns bytes or a Response of that type. ``nothing`` says when the view returns None, which is
        answered 204.
        """
        policy = Policy(self.audience, may, limit, command=False)
        schema = answers() if isinstance(answers, type) else answers

        def declare(view: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(view)
            def run(*parsed: Any, **path: Any) -> Any:
                given = {"query": parsed[0]} if arguments else {}
                if may is None:
                    with unit_of_work(request_id=g.request_id) as uow:
                        found = view(uow, **path, **given)
                else:
                    claims = identity().claims(bearer(request))
                    with unit_of_work(claims.town_id, request_id=g.request_id) as uow:
                        actor = _admit(uow, claims, may)
                        found = view(uow, actor, **path, **given)
                if found is None and nothing:
                    return Response(status=204)
                if isinstance(found, Response):
                    return found
                return _media(found, media) if media else _json(schema.dump(found) if schema else found, 200)

            decorated = run
            if arguments:
                decorated = self.arguments(arguments, location="query")(decorated)
            if nothing:
                decorated = self.alt_response(204, description=nothing)(decorated)
            return self._add(rule, "GET", view, decorated, policy, schema, 200, refuses, media)

        return declare

    def command(
        self,
        rule: str,
        *,
        may: tuple[str, str],
        answers: type[Schema] | Schema | None = None,
        body: type[Schema] | None = None,
        status: int = 200,
        method: str = "POST",
        limit: limits.Limit = limits.ACT,
        refuses: tuple[int, ...] = (409,),
        raw: str | None = None,
        prepares: Callable[..., Any] | None = None,
        arguments: type[Schema] | None = None,
        forgets: tuple[str, ...] = (),
        body_limit: int | None = None,
        guesses: Callable[[UUID], list[Bound]] | None = None,
        if_match: bool = False,
        beyond: Callable[[UnitOfWork, Actor, dict[str, Any]], Any] | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare an act. The view gets ``(uow, actor, **path, command_id=…[, body=…][, query=…])``.

        With ``raw`` (a media type) the body is bytes of that type, which are read only once the caller's role is
        judged. ``prepares`` makes of ``(claims, body, **path)`` the body that the view gets, while no transaction is
        open: reading a document and hashing a password take long. ``forgets`` names fields of the answer that are
        secrets: they go out once and are not kept, so a replay answers them as null. ``guesses`` bounds an act that
        tells whether a password or a code is right: each try is counted, and committed, before it is looked at.
        With ``if_match`` the view gets the ``version`` that the caller has read. ``beyond`` answers ``(uow, actor,
        body)`` where a call is one too many, and cheaply; where it returns None, the call is an act as any other.
        """
        reads = raw or (JSON if body is not None else None)
        policy = Policy(
            self.audience, may, limit, command=True, body_limit=body_limit or self.body_limit, reads=reads,
            spare=limits.SEE if beyond else None,
        )  # fmt: skip
        schema = answers() if isinstance(answers, type) else answers

        def declare(view: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(view)
            def run(*parsed: Any, **path: Any) -> Any:
                remaining = list(parsed)
                headers = remaining.pop(0)
                key: UUID = headers["key"]
                given: dict[str, Any] = {"query": remaining.pop(0)} if arguments else {}
                if if_match:
                    given["version"] = int(headers["version"].strip('"'))
                if body is not None:
                    given["body"] = remaining.pop(0)
                claims = identity().claims(bearer(request))
                unreadable: Refusal | None = None
                if raw is not None or prepares is not None:
                    _judge(policy)
                if raw is not None:
                    given["body"] = request.get_data(cache=True)
                if guesses is not None:
                    _count_guess(claims, key, guesses)
                if prepares is not None:
                    try:
                        given["body"] = prepares(claims, given["body"], **path)
                    except Refusal as refused:
                        unreadable = refused
                with unit_of_work(claims.town_id, request_id=g.request_id) as uow:
                    actor = identity().actor(uow, claims)
                    kept = commands.begin(uow, actor, f"{request.method} {request.path}", key, _fingerprint())
                    if kept is not None:
                        access.require(actor, *may)
                        return _json(kept.answer, kept.status, replayed=True)
                    if beyond is not None and g.get("beyond"):
                        access.require(actor, *may)
                        if (found := beyond(uow, actor, given["body"])) is not None:
                            document = schema.dump(found) if schema else found
                            commands.finish(uow, actor, key, status, document)
                            return _json(document, status)
                    refusal: Refusal | None = None
                    try:
                        with uow.attempt():
                            access.require(actor, *may)
                            if unreadable is not None:
                                raise unreadable
                            found = view(uow, actor, **path, command_id=key, **given)
                    except Exception as error:
                        refusal = error if isinstance(error, Refusal) else refusal_for(error)
                        if refusal is None or not commands.is_final(refusal):
                            raise
                        commands.finish(uow, actor, key, refusal.status, problems.of(refusal))
                    else:
                        answered = 204 if found is None else status
                        document = None if found is None else (schema.dump(found) if schema else found)
                        kept_document = (
                            {**document, **dict.fromkeys(forgets)} if forgets and document else document
                        )
                        commands.finish(uow, actor, key, answered, kept_document)
                if refusal is not None:
                    raise refusal
                return _json(document, answered)

            decorated = run
            if body is not None:
                decorated = self.arguments(body, location="json")(decorated)
            if arguments:
                decorated = self.arguments(arguments, location="query")(decorated)
            brings = ChangeHeadersSchema if if_match else CommandHeadersSchema
            decorated = self.arguments(brings, location="headers")(decorated)
            told = (*refuses, 412) if if_match else refuses
            return self._add(rule, method, view, decorated, policy, schema, status, told, None, raw=raw)

        return declare

    def look(
        self,
        rule: str,
        *,
        may: tuple[str, str],
        body: type[Schema],
        answers: type[Schema] | None = None,
        status: int = 201,
        limit: limits.Limit = limits.HEAVY,
        refuses: tuple[int, ...] = (),
        media: str | None = None,
        renders: Callable[[Any], Response] | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a look that says in a body at what, and why. The view gets ``(uow, actor, **path, body=…)``.

        It stores nothing but that somebody looked, so it takes no key: the same look again is another look. The view
        may return a Response, for an answer that is better encoded beside the sockets. ``renders`` makes the answer, of
        the type ``media``, of what the view returns, once the transaction is over: setting pages takes long.
        """
        policy = Policy(self.audience, may, limit, command=False, body_limit=self.body_limit, reads=JSON)
        schema = answers() if answers else None

        def declare(view: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(view)
            def run(given: Any, **path: Any) -> Any:
                claims = identity().claims(bearer(request))
                with unit_of_work(claims.town_id, request_id=g.request_id) as uow:
                    found = view(uow, _admit(uow, claims, may), **path, body=given)
                if renders is not None:
                    found = renders(found)
                    found.status_code = status
                return (
                    found
                    if isinstance(found, Response)
                    else _json(schema.dump(found) if schema else found, status)
                )

            decorated = self.arguments(body, location="json")(run)
            return self._add(rule, "POST", view, decorated, policy, schema, status, refuses, media)

        return declare

    def open_act(
        self,
        rule: str,
        *,
        body: type[Schema],
        answers: type[Schema] | None = None,
        status: int = 200,
        limit: limits.Limit = limits.SIGN_IN,
        refuses: tuple[int, ...] = (),
        named_by_body: bool = False,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare an act before anybody is known. The view gets the body and opens its own units of work."""
        policy = Policy(
            self.audience,
            None,
            limit,
            command=False,
            body_limit=self.body_limit,
            reads=JSON,
            named_by_body=named_by_body,
        )
        schema = answers() if answers else None

        def declare(view: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(view)
            def run(given: Any, **path: Any) -> Any:
                found = view(given, **path)
                return (
                    Response(status=204)
                    if found is None
                    else _json(schema.dump(found) if schema else found, status)
                )

            return self._add(
                rule,
                "POST",
                view,
                self.arguments(body, location="json")(run),
                policy,
                schema,
                status,
                refuses,
                None,
            )

        return declare

    def _add(
        self,
        rule: str,
        method: str,
        view: Callable[..., Any],
        decorated: Callable[..., Any],
        policy: Policy,
        schema: Schema | None,
        status: int,
        refuses: tuple[int, ...],
        media: str | None,
        raw: str | None = None,
    ) -> Callable[..., Any]:
        decorated = _judged(decorated, policy)
        codes = (
            {429, 503, *refuses} | ({401, 403} if policy.may else set()) | ({404} if "<" in rule else set())
        )
        codes |= {400, 404, 413, 415} if method != "GET" else set()
        if media:
            decorated = self.response(status, {"type": "string", "format": "binary"}, content_type=media)(
                decorated
            )
        elif schema is not None:
            decorated = self.response(status, schema)(decorated)
        if schema is None and not media:
            decorated = self.response(204, description="Done.")(decorated)
        extra: dict[str, Any] = {
            "security": [{"bearer": []}] if policy.may else [],
            # Said at once: a decorator for each would copy all that was said before it.
            "responses": {str(code): _problem(code) for code in sorted(codes)},
        }
        if policy.may:
            extra["x-permission"] = ":".join(policy.may)
        if raw:
            extra["requestBody"] = {
                "required": True,
                "content": {raw: {"schema": {"type": "string", "format": "binary"}}},
            }
        decorated = self.doc(**extra)(decorated)
        name = f"{view.__module__.rpartition('.')[2]}.{view.__name__}".replace(".", "_")
        decorated = self.route(rule, methods=[method], endpoint=name)(decorated)
        POLICIES[f"{self.name}.{name}"] = policy
        return view


def _problem(code: int) -> dict[str, Any]:
    """A refusal as the API's document says it."""
    return {
        "description": PROBLEM_TEXT.get(code, HTTPStatus(code).phrase),
        "content": {"application/problem+json": {"schema": ProblemSchema}},
    }


POLICIES: dict[str, Policy] = {}
"""Endpoint name to policy, of every route there is."""


def _admit(uow: UnitOfWork, claims: AccessClaims, may: tuple[str, str]) -> Actor:
    actor = identity().actor(uow, claims)
    access.require(actor, *may)
    return actor


def _judge(policy: Policy) -> None:
    """Refuse a caller whose role the route is not for; in a short transaction of its own."""
    if policy.may is None:
        return
    claims = identity().claims(bearer(request))
    with unit_of_work(claims.town_id, request_id=g.request_id) as uow:
        _admit(uow, claims, policy.may)


def _judged(decorated: Callable[..., Any], policy: Policy) -> Callable[..., Any]:
    """Judge the role before any fault of the request is told: whom a route is not for learns nothing of it (F46)."""

    @functools.wraps(decorated)
    def run(*given: Any, **path: Any) -> Any:
        try:
            return decorated(*given, **path)
        except HTTPException:
            _count_failure(policy)
            _judge(policy)
            raise
        except Refusal:
            _count_failure(policy)
            raise

    return run


def count_for(caller: str) -> None:
    """Count the call for whom the body named, and for nobody else, however it ends.

    Raises:
        TooMany: he called too often.
    """
    g.counted = True
    _count(POLICIES[request.endpoint or ""], caller)


def _count_failure(policy: Policy) -> None:
    if policy.named_by_body and not g.get("counted"):
        g.counted = True
        _count(policy, limits.caller_of(request))


def _count(policy: Policy, caller: str) -> None:
    counters: limits.Limits = current_app.extensions["xungeng.limits"]
    counters.check(policy.limit, request.endpoint or "", caller)


def _count_guess(claims: AccessClaims, key: UUID, guesses: Callable[[UUID], list[Bound]]) -> None:
    """Count a try in a transaction of its own, which an act that fails does not undo; a repeat is no try.

    Raises:
        TooMany: a bound is exceeded; nothing is looked at.
    """
    throttling: Throttling = current_app.extensions["xungeng.throttling"]
    with unit_of_work(claims.town_id, request_id=g.request_id) as uow:
        actor = identity().actor(uow, claims)
        known = commands.is_known(uow, actor, key)
        refusal = None if known else throttling.count(uow, guesses(claims.user_id))
    if refusal is not None:
        raise refusal


def _fingerprint() -> bytes:
    """Return what is kept of a command's body: a keyed hash, because a short body may hold a password."""
    key = derive_key(current_app.extensions["xungeng.config"].secret_key, "idempotency")
    return hmac.digest(key, request.query_string + b"\n" + request.get_data(cache=True), "sha256")


def _json(document: Any, status: int, *, replayed: bool = False) -> Response:
    headers = {"Idempotent-Replay": "true"} if replayed else {}
    if status == 204:
        return Response(status=204, headers=headers)
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return Response(
        body, status=status, mimetype=JSON if status < 400 else problems.MEDIA_TYPE, headers=headers
    )


def _media(body: bytes, media: str) -> Response:
    return Response(body, mimetype=media)


def check_limits() -> None:
    """Count the call against its route's limit, and refuse it without a token; before anything else is read."""
    policy = POLICIES.get(request.endpoint or "")
    if policy is None:
        return
    if policy.body_limit is not None:
        request.max_content_length = policy.body_limit
    if policy.may is not None:
        try:
            claims_of_session()
        except Unauthenticated:
            if policy.spare is None:
                _count(policy, limits.caller_of(request))
            raise
    if not policy.named_by_body:
        try:
            _count(policy, limits.caller_of(request))
        except TooMany:
            if policy.spare is None:
                raise
            _count(replace(policy, limit=policy.spare), limits.caller_of(request))
            g.beyond = True
    if request.view_args:
        counters: limits.Limits = current_app.extensions["xungeng.limits"]
        counters.check_misses(limits.caller_of(request))


def claims_of_session() -> AccessClaims:
    """Return what the caller's token says; from here on the calls of this request count for his session.

    Raises:
        Unauthenticated: there is no token that is good.
    """
    claims = identity().claims(bearer(request))
    request.xungeng_session = claims.session_id  # type: ignore[attr-defined]
    return claims


def unpolicied(app: Flask, exempt: Mapping[str, str]) -> list[str]:
    """Return the rules that have neither a policy nor a named exemption; the app refuses to start with any (F46)."""
    return sorted(
        str(rule)
        for rule in app.url_map.iter_rules()
        if rule.endpoint not in POLICIES and rule.endpoint not in exempt
    )


def strict_body() -> None:
    """Refuse bodies of another type, and read JSON strictly before anything else looks at it (F72, F73)."""
    policy = POLICIES.get(request.endpoint or "")
    if policy is None or policy.reads is None:
        return
    try:
        _read_strictly(policy.reads)
    except (Refusal, HTTPException):
        _count_failure(policy)
        _judge(policy)
        raise


def _read_strictly(media: str) -> None:
    if request.mimetype != media:
        raise Unsupported("unsupported_media_type", f"This address reads {media}.")
    if media == JSON:
        try:
            value = strict_json.loads(request.get_data(cache=True))
        except strict_json.NotStrictError as error:
            raise Unreadable("unreadable", str(error)) from error
        request._cached_json = (value, value)
