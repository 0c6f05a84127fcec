"""Where the web process listens: its socket, its addresses, and whether it answers there."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from backend.core.config import Config, ConfigError


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the port is taken, needs root, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        found.close()
        raise ConfigError(_no_port(host, port, error)) from None
    return found


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The socket of :func:`listen`, closed at the end."""
    found = listen(host, port)
    try:
        yield found
    finally:
        found.close()


def _no_port(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} is taken by another program: choose one with PORT, for example PORT={port + 100}."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} is reserved for root: choose one above 1023 with PORT."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"XUNGENG_HOST is {host}, which is not an address of this machine."
    return f"Port {port} cannot be served on: {error.strerror or error}."


def local_url(config: Config, name: str | None = None) -> str:
    """How this machine reaches its own web process."""
    scheme = "https" if config.tls else "http"
    if name is None and config.tls_cert:
        from backend.serve_tls import given_name

        name = given_name(config.tls_cert)
    host = config.host if config.host not in ("0.0.0.0", "::") else (name or "127.0.0.1")
    return f"{scheme}://{bracketed(host)}:{config.port}"


def reachable_urls(config: Config) -> list[str]:
    """How other machines reach it, as far as this one can tell."""
    from backend.serve_tls import local_addresses

    if config.host not in ("0.0.0.0", "::"):
        return []
    scheme = "https" if config.tls else "http"
    return [f"{scheme}://{bracketed(host)}:{config.port}" for host in (*config.hostnames, *local_addresses())]


def ca_port(config: Config) -> int:
    """Where the page that hands out the CA is served, on plain HTTP."""
    return config.ca_port or config.port + 1


def bracketed(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def is_ready(config: Config) -> bool:
    """Whether the web process answers that it can serve."""
    host = config.host if config.host not in ("0.0.0.0", "::") else "127.0.0.1"
    connection: http.client.HTTPConnection
    if config.tls:
        # It asks itself over loopback: whom the certificate names does not matter here.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, config.port, timeout=5, context=context)
    else:
        connection = http.client.HTTPConnection(host, config.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
