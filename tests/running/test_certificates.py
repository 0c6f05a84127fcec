"""A certificate that was given and is replaced on disk is taken over without a restart."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from backend.core.config import Config
from backend.serve import Supervisor
from backend.serve_tls import certificate_for


def issued(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate and its key, as an authority outside would hand them over."""
    config = Config.from_env({"XUNGENG_DATA": str(folder), "XUNGENG_HOSTNAMES": name, "XUNGENG_TLS": "1"})
    made = certificate_for(config)
    return made.certificate, made.key


def test_the_web_process_is_told_of_a_given_certificate_that_was_renewed(tmp_path: Path, capsys: Any) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    for source, target in zip(issued(tmp_path / "first", "town.example"), (certificate, key), strict=True):
        shutil.copy(source, target)
    supervisor = Supervisor(
        Config.from_env(
            {
                "XUNGENG_DATA": str(tmp_path / "var"),
                "XUNGENG_TLS_CERT": str(certificate),
                "XUNGENG_TLS_KEY": str(key),
            }
        )
    )
    told: list[int] = []
    web: Any = SimpleNamespace(name="web", process=SimpleNamespace(send_signal=told.append))
    supervisor.children = [web]

    supervisor._renew_certificate()
    assert told == []

    renewed = issued(tmp_path / "second", "town.example")
    shutil.copy(renewed[0], certificate)
    os.utime(certificate, (1, 1))
    supervisor._renew_certificate()
    assert told == [], "its key is not there yet, and what is served goes on"
    assert "does not belong" in capsys.readouterr().err

    shutil.copy(renewed[1], key)
    supervisor._renew_certificate()
    assert told == [signal.SIGHUP]
    supervisor._renew_certificate()
    assert told == [signal.SIGHUP]
