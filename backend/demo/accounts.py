"""The credentials of the demo town, made at random for each installation and kept for showing.

The database holds hashes; what people and the simulated phones need in plain is in one file of the data folder that
nobody but the installation's user can read. No password stands in the repository.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backend.core.config import Config, ConfigError

# Without letters and digits that look alike: people type these on phones.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP = 4, 4


def path(config: Config) -> Path:
    """Where the credentials are kept (0600)."""
    return config.secrets_dir / "demo-accounts.json"


def phones_path(config: Config) -> Path:
    """Where the simulated phones keep how they are signed in (0600)."""
    return config.secrets_dir / "simulated-phones.json"


def accounts(config: Config) -> dict[str, Any]:
    """Return the demo accounts, with the trackers' addresses as this installation is reached now.

    Raises:
        ConfigError: there is no demo town in the data folder.
    """
    try:
        found: dict[str, Any] = json.loads(path(config).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"There is no demo town in {config.data_dir}: start script/server once.") from None
    base = base_url(config)
    for officer in found.get("officers", []):
        for tracker in officer.get("trackers", {}).values():
            parts = urlsplit(tracker["url"])
            tracker["url"] = base + parts.path + (f"?{parts.query}" if parts.query else "")
    return found


def write(config: Config, document: Mapping[str, Any]) -> None:
    """Keep the accounts: all or nothing, and never readable by others, not even for a moment."""
    target = path(config)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent)  # Made with 0600.
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def base_url(config: Config) -> str:
    """How trackers reach the installation: its public address, or this machine."""
    if config.public_url:
        return config.public_url.rstrip("/")
    return config.served_url


def new_password() -> str:
    """A random password of 79 bits that can be read out and typed: ``k7mw-2hqp-x9fa-tr4n``."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
