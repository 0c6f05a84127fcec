"""Tables as classes: columns, constraints, relationships, and no behaviour. One file per aggregate."""

from backend.models.base import Base
from backend.models.command import Command
from backend.models.device import Device, DeviceCredential
from backend.models.fix import Fix, GateCounter, LateDay, LatestPosition, QuarantinedFix, TrackDay
from backend.models.imported_track import ImportedTrack
from backend.models.journal import Disclosure, Journal
from backend.models.notice import Address, Delivery, Notice, NoticeSetting, WechatCredit
from backend.models.shift import Crew, CrewMember, Invitation, Shift
from backend.models.town import Area, Basemap, Checkpoint, Department, Road, Town
from backend.models.user import LoginCode, Membership, RefreshToken, Session, Throttle, User

__all__ = [
    "Address",
    "Area",
    "Base",
    "Basemap",
    "Checkpoint",
    "Command",
    "Crew",
    "CrewMember",
    "Delivery",
    "Department",
    "Device",
    "DeviceCredential",
    "Disclosure",
    "Fix",
    "GateCounter",
    "ImportedTrack",
    "Invitation",
    "Journal",
    "LateDay",
    "LatestPosition",
    "LoginCode",
    "Membership",
    "Notice",
    "NoticeSetting",
    "QuarantinedFix",
    "RefreshToken",
    "Road",
    "Session",
    "Shift",
    "Throttle",
    "Town",
    "TrackDay",
    "User",
    "WechatCredit",
]
