"""A server whose request ends the process between the commit and the answer, when the request asks for it (F02).

``python -m tests.durability.dying_server PORT``. Each request is served in a forked child with everything the ingest
process has; a request with the header ``X-Die`` gets no answer, because its child exits as if it had been killed.
"""

from __future__ import annotations

import os
import socketserver
import sys
from collections.abc import Sequence
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from backend import wsgi
from mobile_api import hot
from workflows import sessions
from workflows.tracks import Delivery, Ingest, Receipt

KILLED = 137
IMPORTED = (hot, sessions)
"""What a child would import for its first request is imported once, before any fork."""
_commit = Ingest._commit
_dies = False


def commit_and_die(self: Ingest, group: Sequence[Delivery]) -> list[Receipt | Exception]:
    """Commit, and come to the end before anybody can be told."""
    answer = _commit(self, group)
    if _dies:
        os._exit(KILLED)
    return answer


Ingest._commit = commit_and_die  # type: ignore[method-assign]


class Handler(WSGIRequestHandler):
    """Says nothing about requests."""

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


class Server(socketserver.ForkingMixIn, WSGIServer):
    """A child for each request."""

    daemon_threads = True
    max_children = 64
    request_queue_size = 128


def serve(environ: dict[str, Any], start_response: Any) -> Any:
    """Serve one request in the child that was forked for it."""
    global _dies
    _dies = bool(environ.get("HTTP_X_DIE"))
    return wsgi.ingest_on_threads(environ, start_response)


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    server.set_app(serve)
    server.serve_forever()
