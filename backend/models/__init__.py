"""Tables as classes: columns, constraints, relationships, and no behaviour. One file per aggregate."""

from backend.models.alarm import Alarm
from backend.models.appraisal import (
    Appraisal,
    AppraisalContest,
    AppraisalGroup,
    AppraisalInput,
    AppraisalMonth,
    Silence,
)
from backend.models.base import Base
from backend.models.call import Call, CallAnswer
from backend.models.command import Command
from backend.models.deadline import Deadline, LadderRung, Number
from backend.models.device import Device, DeviceCredential, PhoneSetup
from backend.models.duty_level import LevelSwitch
from backend.models.evidence import Custody, CustodyHead, CustodyLeaf, Evidence, EvidenceRoom, TaskPhoto
from backend.models.evidence_export import EvidenceExport, EvidenceExportItem
from backend.models.fix import Fix, GateCounter, LateDay, LatestPosition, QuarantinedFix, TrackDay
from backend.models.imported_track import ImportedTrack
from backend.models.journal import Disclosure, Journal
from backend.models.notice import Address, Delivery, Notice, NoticeSetting, WechatCredit
from backend.models.patrol import Patrol, PatrolDeviation, PatrolPhoto, PatrolPoint, Plan
from backend.models.post import Post
from backend.models.post_duty import PostAbsence, PostBreak, PostDuty
from backend.models.report import Report
from backend.models.roster import HandOver, HandOverTask, PlannedShift, RosterRequest
from backend.models.route import Route, RoutePoint
from backend.models.shift import Crew, CrewMember, Invitation, Shift
from backend.models.task import Assignment, Task, TaskKind
from backend.models.town import Area, Basemap, Checkpoint, Department, Road, RoadPart, RoadWalk, Town
from backend.models.user import LoginCode, Membership, RefreshToken, Session, Throttle, User
from backend.models.visit import Visit, VisitState, VisitWatch

__all__ = [
    "Address",
    "Alarm",
    "Appraisal",
    "AppraisalContest",
    "AppraisalGroup",
    "AppraisalInput",
    "AppraisalMonth",
    "Area",
    "Assignment",
    "Base",
    "Basemap",
    "Call",
    "CallAnswer",
    "Checkpoint",
    "Command",
    "Crew",
    "CrewMember",
    "Custody",
    "CustodyHead",
    "CustodyLeaf",
    "Deadline",
    "Delivery",
    "Department",
    "Device",
    "DeviceCredential",
    "Disclosure",
    "Evidence",
    "EvidenceExport",
    "EvidenceExportItem",
    "EvidenceRoom",
    "Fix",
    "GateCounter",
    "HandOver",
    "HandOverTask",
    "ImportedTrack",
    "Invitation",
    "Journal",
    "LadderRung",
    "LateDay",
    "LatestPosition",
    "LevelSwitch",
    "LoginCode",
    "Membership",
    "Notice",
    "NoticeSetting",
    "Number",
    "Patrol",
    "PatrolDeviation",
    "PatrolPhoto",
    "PatrolPoint",
    "PhoneSetup",
    "Plan",
    "PlannedShift",
    "Post",
    "PostAbsence",
    "PostBreak",
    "PostDuty",
    "QuarantinedFix",
    "RefreshToken",
    "Report",
    "Road",
    "RoadPart",
    "RoadWalk",
    "RosterRequest",
    "Route",
    "RoutePoint",
    "Session",
    "Shift",
    "Silence",
    "Task",
    "TaskKind",
    "TaskPhoto",
    "Throttle",
    "Town",
    "TrackDay",
    "User",
    "Visit",
    "VisitState",
    "VisitWatch",
    "WechatCredit",
]
