"""Brings a file up with tus-py-client, through every cut: ``bring.py FILE ENDPOINT TOKEN METADATA-AS-JSON``."""

from __future__ import annotations

import json
import sys
import time

from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

PART = 64 * 1024


def main() -> None:
    file, endpoint, token, metadata = sys.argv[1:5]
    client = TusClient(endpoint, headers={"Authorization": f"Bearer {token}"})
    until = time.monotonic() + 120
    while True:  # What is broken off at the very beginning, or more often than it likes, the client gives up.
        try:
            uploader = client.uploader(
                file, metadata=json.loads(metadata), chunk_size=PART, retries=100, retry_delay=0.15
            )
            uploader.upload()
            break
        except TusCommunicationError:
            if time.monotonic() > until:
                raise
            time.sleep(0.15)
    print("done")


main()
