"""Writes what the web clients share with `geo/datum.py`: the outline, and places by which the two are compared.

Run from the repository's root after a change of `geo/datum.py` or `geo/outline.py`:
`.venv/bin/python web/build/datum_from_server.py`
"""

import json
import sys
from pathlib import Path
from random import Random

WEB = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(WEB.parent))

from geo import datum, outline  # noqa: E402

KNOWN = [
    (121.4737, 31.2304), (116.3975, 39.9087), (113.2644, 23.1291), (87.6168, 43.8256), (110.33, 20.03),
    (114.1694, 22.3193), (113.5439, 22.1987), (121.5654, 25.033), (139.6917, 35.6895), (2.3522, 48.8566),
    (-74.006, 40.7128), (126.978, 37.5665), (105.8342, 21.0278), (121.2300, 31.0300), (118.0894, 24.4798),
]  # fmt: skip


def main() -> None:
    """Write both files."""
    rings = {"mainland": outline.MAINLAND, "macau": outline.MACAU}
    (WEB / "src/shared/datum-outline.json").write_text(json.dumps(rings, separators=(",", ":")) + "\n")
    random = Random(20261123)
    places = KNOWN + [(round(random.uniform(75, 133), 6), round(random.uniform(19, 52), 6)) for _ in range(85)]
    rows = [
        {
            "wgs84": place,
            **{name: [round(v, 9) for v in datum.convert(*place, "wgs84", name)] for name in ("gcj02", "bd09")},
            "shifted": datum.is_shifted(*place),
        }
        for place in places
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (WEB / "tests/datum-vectors.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
