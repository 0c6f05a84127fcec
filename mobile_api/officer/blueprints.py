"""The officer audience's blueprints. Fixes come over the hot route (``mobile_api.hot``)."""

from mobile_api.officer import (
    appraisals,
    calls,
    evidence,
    hand_overs,
    notices,
    patrols,
    posts,
    reports,
    roster,
    shifts,
    sos,
    tasks,
    tracks,
    visits,
)
from mobile_api.officer import map as ground

BLUEPRINTS = (
    shifts.blp, tasks.blp, tracks.blp, ground.blp, sos.blp, calls.blp, notices.blp, reports.blp, patrols.blp,
    posts.blp, visits.blp, evidence.blp, roster.blp, hand_overs.blp, appraisals.blp,
)  # fmt: skip
