"""Text messages to a phone, by template and parameters, because providers take no free text.

``HttpSms`` speaks to an HTTP gateway of the operator's choice; ``ConsoleSms`` is its development twin, which prints
the code where the operator sees it and keeps it in a file that only he can read.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from backend.adapters import gateway
from backend.core.errors import Unavailable

TIMEOUT_S = 5.0


class Sms(Protocol):
    """Something that takes a message to a phone."""

    name: str

    def send(self, phone: str, template: str, parameters: Mapping[str, str]) -> None:
        """Hand one message over; raises Unavailable when it was not taken."""


class HttpSms:
    """POSTs ``{"phone", "template", "parameters"}`` as signed JSON to the gateway."""

    name = "sms"

    def __init__(self, url: str, token: str | None) -> None:
        self._url, self._token = url, token

    def send(self, phone: str, template: str, parameters: Mapping[str, str]) -> None:
        body = {"phone": phone, "template": template, "parameters": dict(parameters)}
        try:
            answer = gateway.post(self._url, self._token, body, timeout_s=TIMEOUT_S)
        except gateway.Unanswered as error:
            raise Unavailable(
                "The text message could not be sent; please try again.", code="sms_unavailable"
            ) from error
        if not answer.taken:
            raise Unavailable("The text message was not taken; please try again.", code="sms_unavailable")


class ConsoleSms:
    """Prints the message and appends it to ``otp.log`` (0600) in the data folder. Never used in production."""

    name = "development"

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "otp.log"

    def send(self, phone: str, template: str, parameters: Mapping[str, str]) -> None:
        line = f"{phone} {template} " + " ".join(f"{key}={value}" for key, value in parameters.items())
        print(f"[development SMS] {line}", file=sys.stderr, flush=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a") as file:
            file.write(line + "\n")


class NullSms:
    """No gateway is configured: codes cannot be sent, and the answer says so."""

    name = "off"

    def send(self, phone: str, template: str, parameters: Mapping[str, str]) -> None:
        raise Unavailable("No SMS gateway is configured on this installation.", 3600, "sms_not_configured")
