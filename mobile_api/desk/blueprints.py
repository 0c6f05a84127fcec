"""The desk audience's blueprints."""

from mobile_api.desk import (
    alarms,
    calls,
    devices,
    evidence,
    imported_tracks,
    map,
    notices,
    officers,
    oversight,
    referrals,
    replays,
    reports,
    shifts,
    task_kinds,
    tasks,
    users,
)

BLUEPRINTS = (
    officers.blp,
    replays.blp,
    imported_tracks.blp,
    shifts.blp,
    tasks.blp,
    referrals.blp,
    reports.blp,
    evidence.blp,
    task_kinds.blp,
    map.blp,
    devices.blp,
    oversight.blp,
    users.blp,
    alarms.blp,
    calls.blp,
    notices.blp,
)
