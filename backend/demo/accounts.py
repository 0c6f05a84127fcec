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


SHOWN = 3
"""So many accounts of a role are listed; programs get all of them."""
CODE = "that the server prints when it is asked for"


def listed(found: Mapping[str, Any]) -> list[str]:
    """Return the accounts as people read them, of each role a few: first the officers for whom nobody walks."""
    officers = sorted(found.get("officers", []), key=lambda one: not one.get("reserved"))
    lines = [
        _line(role, found[role]["login"], found[role]["password"], "the whole town")
        for role in ("admin", "supervisor", "desk", "auditor")
        if role in found
    ]
    for role, people in (
        ("desk", [(one["login"], one["password"], _communities(one)) for one in found.get("desks", [])]),
        ("handler", [(one["login"], one["password"], one["department"]["en"]) for one in found.get("handlers", [])]),
        ("officer", [(one["login"], one["password"], _whose(one)) for one in officers]),
        ("resident", [(one["phone"].removeprefix("+86"), "a code", CODE) for one in found.get("residents", [])]),
    ):  # fmt: skip
        lines += [_line(role, *one) for one in people[:SHOWN]]
        if len(people) > SHOWN:
            lines.append(f"{role:<12}… {len(people) - SHOWN} more, --json prints all")
    return lines


def _line(role: str, name: str, secret: str, about: str) -> str:
    return f"{role:<12}{name:<20}{secret:<21}{about}".rstrip()


def _communities(desk: Mapping[str, Any]) -> str:
    return f"{len(desk['area_ids'])} communities"


def _whose(officer: Mapping[str, Any]) -> str:
    return "nobody walks for this one" if officer.get("reserved") else ""


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
