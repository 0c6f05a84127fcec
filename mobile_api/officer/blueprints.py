"""The officer audience's blueprints. Fixes come over the hot route (``mobile_api.hot``)."""

from mobile_api.officer import map as ground
from mobile_api.officer import notices, reports, shifts, sos, tasks, tracks

BLUEPRINTS = (shifts.blp, tasks.blp, tracks.blp, ground.blp, sos.blp, notices.blp, reports.blp)
