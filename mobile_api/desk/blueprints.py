"""The desk audience's blueprints."""

from mobile_api.desk import (
    devices,
    imported_tracks,
    map,
    notices,
    officers,
    oversight,
    replays,
    shifts,
    users,
)

BLUEPRINTS = (
    officers.blp,
    replays.blp,
    imported_tracks.blp,
    shifts.blp,
    map.blp,
    devices.blp,
    oversight.blp,
    users.blp,
    notices.blp,
)
