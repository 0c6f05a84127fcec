"""The gateways below Flask. Foreign protocols answer in their own shapes, so nothing here is a problem document."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, current_app, request

from backend.core.errors import Refusal
from backend.core.metrics import METHODS
from mobile_api.gateway import answers, tus
from mobile_api.gateway.call import Answer, Call
from mobile_api.gateway.delivery import refused


class Gateway(Blueprint):
    """A blueprint that says which endpoints it has; each authenticates a device, not a person."""

    def __init__(self, name: str) -> None:
        super().__init__(name, __name__)
        self.endpoints: list[str] = []

    def serve(self, rule: str, answer: Callable[[Call], Answer]) -> None:
        """Serve a function at a path, whatever the method: the protocol itself says what it does not take."""
        name = rule.removeprefix("/gateway/").replace("/<key>/xungeng.properties", "_profile")
        name = name.replace("/<key>", "_key")

        def view(key: str | None = None) -> Response:
            try:
                call = Call.of(request.environ, key, current_app.extensions["xungeng.config"].public_url)
            except Refusal as refusal:
                return response_of(refused(refusal))
            return response_of(answer(call))

        self.endpoints.append(name)
        # People type a slash at the end, and a redirect loses what was posted.
        for path in (rule, rule + "/"):
            self.add_url_rule(path, name, view, methods=sorted(METHODS), provide_automatic_options=False)


def response_of(answer: Answer) -> Response:
    """Return Flask's form of an answer."""
    response = Response(answer.body, status=answer.status)
    response.headers.clear()
    response.headers.extend(answer.header_list())
    return response


gateway = Gateway("gateway")
for rule, answer in answers.ANSWERS.items():
    gateway.serve(rule, answer)


BLUEPRINTS = (gateway, tus.uploads)
