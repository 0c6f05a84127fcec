"""Browsers' subscriptions to Web Push: which are believed, and the installation's key that they are made with."""

from __future__ import annotations

import os
import re
import tempfile
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

SERVICES = (
    "fcm.googleapis.com",
    "updates.push.services.mozilla.com",
    "web.push.apple.com",
    ".push.apple.com",
    ".notify.windows.com",
)
"""Hosts of push services; one that begins with a dot stands for all below it."""

_HOST = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
"""Nothing else is a host to every reader: at a backslash, for one, urllib3 ends what urlsplit reads on."""


def is_service(endpoint: str, more: Collection[str] = ()) -> bool:
    """Say whether an endpoint is a push service's. ``more`` are further hosts, or whole origins such as
    ``http://127.0.0.1:9000`` for a service of one's own."""
    try:
        parts = urlsplit(endpoint)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    if parts.username or parts.password:
        return False
    if f"{parts.scheme}://{parts.netloc}" in more:
        return True
    if parts.scheme != "https" or port not in (None, 443) or not _HOST.fullmatch(host):
        return False
    known = [one for one in (*SERVICES, *more) if "://" not in one]
    return any(host == one or (one.startswith(".") and host.endswith(one)) for one in known)


def are_keys(keys: Mapping[str, str]) -> bool:
    """Say whether a subscription's keys have the form of keys: a point of the curve, and sixteen bytes."""
    try:
        sizes = {
            name: len(urlsafe_b64decode(value + "=" * (-len(value) % 4))) for name, value in keys.items()
        }
    except (ValueError, TypeError):
        return False
    return sizes == {"p256dh": 65, "auth": 16}


def vapid(path: Path) -> Vapid02:
    """Return the installation's key, made at the first use and readable by nobody else (0600)."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = Vapid02()
        made.generate_keys()
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(made.private_pem())
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)  # Of several processes at once, the first one's key stays.
            except FileExistsError:
                pass
        finally:
            Path(temporary).unlink()
    return Vapid02.from_file(str(path))


@cache
def public_key(path: Path) -> str:
    """Return the key that browsers subscribe with (``applicationServerKey``), base64url."""
    point = vapid(path).public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return urlsafe_b64encode(point).decode().rstrip("=")
