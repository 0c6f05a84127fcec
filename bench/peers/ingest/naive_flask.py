"""What a first version in Flask looks like: a view that validates, a pool, one transaction for each request.

Run by gunicorn with threads. It checks the same tokens and the same shift gate and answers after the commit; it
writes as the tables' owner, keeps no counters and looks for no impossible speed.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any

from flask import Flask, abort, request
from joserfc import jwt
from joserfc.jwk import OctKey
from psycopg_pool import ConnectionPool

KEY = OctKey.import_key(bytes.fromhex(os.environ["TOKEN_KEY"]))
NUMBERS = ("accuracy_m", "altitude_m", "speed_mps", "heading_deg", "battery_pct")

INSERT = """
insert into fixes (town_id, device_id, fixed_at, seq, shift_id, geom, accuracy_m, altitude_m, speed_mps, heading_deg,
                   battery_pct, charging, flags, sent_at, received_at)
values (%s, %s, %s, %s, %s, ST_SetSRID(ST_MakePoint(%s, %s), 4326), %s, %s, %s, %s, %s, %s, 0, %s, now())
on conflict do nothing
"""
LATEST = """
insert into latest_positions as shown (officer_id, town_id, shift_id, room_id, device_id, geom, fixed_at, received_at,
                                       accuracy_m, speed_mps, heading_deg, battery_pct, charging)
values (%s, %s, %s, %s, %s, ST_SetSRID(ST_MakePoint(%s, %s), 4326)::geography, %s, now(), %s, %s, %s, %s, %s)
on conflict (officer_id) do update
  set shift_id = excluded.shift_id, room_id = excluded.room_id, device_id = excluded.device_id, geom = excluded.geom,
      fixed_at = excluded.fixed_at, received_at = excluded.received_at, accuracy_m = excluded.accuracy_m,
      speed_mps = excluded.speed_mps, heading_deg = excluded.heading_deg, battery_pct = excluded.battery_pct,
      charging = excluded.charging
  where excluded.fixed_at > shown.fixed_at
"""

app = Flask(__name__)
pool = ConnectionPool(os.environ["CONNINFO"], min_size=1, max_size=16, open=True)
remembered: dict[str, tuple[int, str]] = {}


def officer_of(header: str) -> str:
    token = header.removeprefix("Bearer ")
    if token not in remembered:
        try:
            claims = jwt.decode(token, KEY, algorithms=["HS256"]).claims
        except Exception:
            abort(401)
        remembered[token] = (claims["exp"], claims["sub"])
    expires_at_s, officer_id = remembered[token]
    if expires_at_s <= time.time():
        abort(401)
    return officer_id


def checked(fix: dict[str, Any]) -> dict[str, Any]:
    fixed_at = datetime.fromisoformat(fix["fixed_at"])
    if fixed_at.tzinfo is None or not -180 <= fix["lon"] <= 180 or not -90 <= fix["lat"] <= 90:
        abort(422)
    for name in NUMBERS:
        if fix.get(name) is not None and not isinstance(fix[name], int | float):
            abort(422)
    return {**fix, "fixed_at": fixed_at}


@app.post("/api/v1/officer/fixes")
def store() -> dict[str, int]:
    officer_id = officer_of(request.headers.get("Authorization", ""))
    body = request.get_json()
    fixes = [checked(fix) for fix in body["fixes"]]
    with pool.connection() as connection, connection.cursor() as cursor:
        shift = cursor.execute(
            "select id, town_id, area_id, started_at, closes_at from shifts"
            " where officer_id = %s and ended_at is null",
            (officer_id,),
        ).fetchone()
        if shift is None:
            return {"stored": 0}
        shift_id, town_id, area_id, started_at, closes_at = shift
        kept = [fix for fix in fixes if started_at <= fix["fixed_at"] < closes_at]
        stored = 0
        if kept:
            cursor.executemany(
                INSERT,
                [
                    (
                        town_id, body["device_id"], fix["fixed_at"], fix.get("seq") or 0, shift_id, fix["lon"],
                        fix["lat"], *(fix.get(name) for name in NUMBERS), fix.get("charging"), body["sent_at"],
                    )
                    for fix in kept
                ],
            )  # fmt: skip
            stored = cursor.rowcount
            last = max(kept, key=lambda fix: fix["fixed_at"])
            cursor.execute(
                LATEST,
                (
                    officer_id, town_id, shift_id, area_id, body["device_id"], last["lon"], last["lat"],
                    last["fixed_at"], last.get("accuracy_m"), last.get("speed_mps"), last.get("heading_deg"),
                    last.get("battery_pct"), last.get("charging"),
                ),
            )  # fmt: skip
    return {"stored": stored}
