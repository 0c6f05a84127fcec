"""Gunicorn's settings (``gunicorn -c python:backend.serve_gunicorn backend.wsgi:app``), read from our own.

The supervisor hands down its listening socket; started by itself (systemd, Kubernetes), gunicorn binds its own.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from gunicorn.glogging import Logger

from backend.core import logs, metrics
from backend.core.config import Config


class QuietLogger(Logger):
    """Gunicorn's messages go the way of all others; requests are logged by us, without their query strings."""

    def setup(self, cfg: Any) -> None:
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        # "Worker exiting" and the like are told at this level; a stop that was asked for is no news.
        self.error_log.setLevel(logging.WARNING)
        self.access_log.handlers.clear()
        self.access_log.disabled = True

    def reopen_files(self) -> None:
        """There are none of its own."""


_config = Config.from_env()
logs.configure(_config, "web")

bind = (
    f"fd://{os.environ['XUNGENG_LISTEN_FD']}"
    if "XUNGENG_LISTEN_FD" in os.environ
    else f"{_config.host}:{_config.port}"
)
worker_class = "backend.serve_worker.FairWorker"
workers = _config.web_processes
worker_connections = _config.worker_connections
backlog = 2048
timeout = 60
# Requests take milliseconds; what holds on for longer are live sockets, whose clients connect again.
graceful_timeout = 10 if _config.production else 2
keepalive = 30
proc_name = "xungeng"
logger_class = QuietLogger
accesslog = None
# X-Forwarded-* is believed from declared hops only, and that is the application's job.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}

if _config.tls:
    from backend.serve_tls import certificate_for

    _certificate = certificate_for(_config)
    certfile, keyfile = str(_certificate.certificate), str(_certificate.key)


def ssl_context(config: Any, default: Any) -> Any:
    """The TLS of a worker, in which a client that says nothing is not waited for."""
    from backend.serve_worker import prompt

    return prompt(default())


def post_fork(server: Any, worker: Any) -> None:
    """Each worker opens its own log: files are shared by nobody."""
    logs.configure(_config, "web")


def child_exit(server: Any, worker: Any) -> None:
    """A worker that is gone has no open sockets."""
    metrics.forget_process(worker.pid)


def post_worker_init(worker: Any) -> None:
    """A client that breaks off its handshake (a phone that does not trust the CA yet) is no fault of ours."""
    import ssl

    from gevent.hub import Hub

    Hub.NOT_ERROR = (*Hub.NOT_ERROR, ssl.SSLError, ConnectionError)
