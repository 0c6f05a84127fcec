"""Gunicorn's gevent worker, of whose connections nobody can have all.

A connection that says nothing holds one of the worker's places for half a minute, and there are only so many. One
network may have half of them; what it opens beyond that is closed unread. Live sockets do not count: they have left
the worker by then, and have bounds of their own. Behind declared proxies all connections are the proxies', which have
to bound their callers themselves.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import Counter
from typing import Any

import gevent
import gevent.server
import gevent.ssl
from gunicorn.workers import ggevent

from backend.core.addresses import network_of
from backend.core.config import Config

HANDSHAKE_S = 10.0
"""Time to agree on TLS."""


class EndingServer(gevent.server.StreamServer):
    """A listening server that may be closed while connections are still agreeing on TLS."""

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> Any:
        """Agree on TLS and serve; gevent's own forgets what serves when the server is closed meanwhile."""
        handle = getattr(self, "handle", None)
        if handle is None:
            client_socket.close()
            return None
        with contextlib.closing(self.wrap_socket(client_socket, **self.ssl_args)) as wrapped:
            return handle(wrapped, address)


ggevent.StreamServer = EndingServer  # The worker takes it from there and has no setting for it.


class FairWorker(ggevent.GeventWorker):
    """The worker, counting connections by network."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._most = 0 if Config.from_env().trusted_hops else self.worker_connections // 2
        self._open: Counter[str] = Counter()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection for as long as it lasts, or close it at once."""
        network = network_of(addr[0] if isinstance(addr, tuple) else None)
        if self._most and self._open[network] >= self._most:
            client.close()
            return
        self._open[network] += 1
        try:
            super().handle(listener, client, addr)
        finally:
            self._open[network] -= 1
            if not self._open[network]:
                del self._open[network]


class PromptSocket(gevent.ssl.SSLSocket):
    """A TLS connection whose handshake ends in time."""

    def do_handshake(self, block: bool = False) -> None:
        """Agree on TLS.

        Raises:
            ConnectionAbortedError: the client took too long.
        """
        with gevent.Timeout(HANDSHAKE_S, ConnectionAbortedError("no handshake")):
            super().do_handshake()


def prompt(context: ssl.SSLContext) -> ssl.SSLContext:
    """Have the context's connections agree in time."""
    context.sslsocket_class = PromptSocket
    return context
