"""Every enumeration of the project on one page, in the words of ``docs/domain.md``.

Stored and sent as text, so a row reads by itself and a new word needs no migration of old rows. Words that the pure
geo modules need stand in ``geo.fixes`` (``Flag``, ``Reason``) and ``geo.datum`` (``DATUMS``), because those modules
know nobody.
"""

from enum import StrEnum

LOCALES = ("zh-CN", "en")
"""The languages of screens and names, the first one first."""


class AreaKind(StrEnum):
    """Kinds of polygon in the tree of areas, from the whole to the part."""

    TOWN = "town"
    COMMUNITY = "community"
    COMPOUND = "compound"
    GRID = "grid"
    BUILDING = "building"


class RoadKind(StrEnum):
    """Kinds of way an officer moves along."""

    ARTERIAL = "arterial"
    STREET = "street"
    LANE = "lane"
    PATH = "path"
    WATER = "water"


class DepartmentKind(StrEnum):
    """Who handles things."""

    POLICE = "police"
    URBAN_MANAGEMENT = "urban_management"
    GRID_CENTRE = "grid_centre"
    PROPERTY = "property"
    FIRE = "fire"
    WATER = "water"
    SANITATION = "sanitation"
    HOUSING = "housing"


class Role(StrEnum):
    """What a membership makes of a user; ``SYSTEM`` is clocks and rules and is never granted."""

    RESIDENT = "resident"
    BUILDING_HEAD = "building_head"
    OFFICER = "officer"
    HANDLER = "handler"
    DISPATCHER = "dispatcher"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"
    AUDITOR = "auditor"
    SYSTEM = "system"


class OfficerKind(StrEnum):
    """民警, 辅警, 巡防队员, 保安, 志愿者; only the first has police powers."""

    POLICE = "police"
    AUXILIARY = "auxiliary"
    PATROL = "patrol"
    GUARD = "guard"
    VOLUNTEER = "volunteer"


class UserState(StrEnum):
    """Whether a user may sign in."""

    ACTIVE = "active"
    DISABLED = "disabled"


class Travel(StrEnum):
    """How a crew goes."""

    FOOT = "foot"
    E_BIKE = "e_bike"
    CAR = "car"


class ShiftState(StrEnum):
    """An officer is tracked in ``ON_DUTY`` and in nothing else."""

    ON_DUTY = "on_duty"
    ENDED = "ended"


class InvitationState(StrEnum):
    """How an officer answered to the leader of a crew who asked him to come on duty with it."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    LAPSED = "lapsed"


class EndedBy(StrEnum):
    """Who ended a shift: the officer, the crew's leader, the desk, or the clock."""

    SELF = "self"
    CREW = "crew"
    DESK = "desk"
    SYSTEM = "system"


class DeviceKind(StrEnum):
    """What kind of thing measures."""

    PHONE = "phone"
    TRACKER = "tracker"
    BODY_CAMERA = "body_camera"


class Protocol(StrEnum):
    """What a device speaks; ``OFFICER`` is our own batch endpoint."""

    OFFICER = "officer"
    OSMAND = "osmand"
    OWNTRACKS = "owntracks"
    OVERLAND = "overland"
    GPSLOGGER = "gpslogger"


class DeviceState(StrEnum):
    """Whether a device's credential opens the gate."""

    ACTIVE = "active"
    REVOKED = "revoked"


class Client(StrEnum):
    """Which program holds a session."""

    OFFICER = "officer"
    RESIDENT = "resident"
    DESK = "desk"
    OTHER = "other"


class RevokeReason(StrEnum):
    """Why a session ended before its time."""

    SIGNED_OUT = "signed_out"
    BY_OWNER = "by_owner"
    BY_ADMIN = "by_admin"
    REUSED = "refresh_reused"
    DISABLED = "user_disabled"
    PASSWORD = "password_changed"  # noqa: S105 (a reason, not a password)


class Outcome(StrEnum):
    """What became of a fix at the gate; counted per day, and the proof that nothing off shift is kept."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    OFF_SHIFT = "off_shift"
    QUARANTINED = "quarantined"


class BasemapKind(StrEnum):
    """How a base map is delivered."""

    NONE = "none"
    PMTILES = "pmtiles"
    STYLE = "style"
    RASTER = "raster"


class Audience(StrEnum):
    """Whom an endpoint serves; the first word of its path."""

    PUBLIC = "public"
    AUTH = "auth"
    OFFICER = "officer"
    RESIDENT = "resident"
    DESK = "desk"


class Disclosure(StrEnum):
    """Kinds of look at a person's data that are written down."""

    TRAIL = "trail"
    REPLAY = "replay"
    EXPORT = "export"
    APPRAISAL = "appraisal"


class Priority(StrEnum):
    """How soon something has to be looked at; an SOS is ``CRITICAL`` and comes before everything else."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class TaskSource(StrEnum):
    """Where a task comes from."""

    DESK = "desk"
    ALARM = "alarm"
    REPORT = "report"
    COMPLAINT = "complaint"
    PATROL = "patrol"


class TaskState(StrEnum):
    """The life of a task as everybody sees it; what each of its people does is an ``AssignmentState``."""

    OPEN = "open"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    EN_ROUTE = "en_route"
    ON_SITE = "on_site"
    SUSPENDED = "suspended"
    RESOLVED = "resolved"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class AssignmentState(StrEnum):
    """One officer's share in a task, from the offer to its end. The last seven have ended."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    EN_ROUTE = "en_route"
    ON_SITE = "on_site"
    SUSPENDED = "suspended"
    DECLINED = "declined"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"
    HANDED_BACK = "handed_back"
    HANDED_OVER = "handed_over"
    RELEASED = "released"
    DONE = "done"


class AlarmKind(StrEnum):
    """What must be looked at; ``OUTAGE``: many officers of one desk have fallen silent at the same time."""

    SOS = "sos"
    SILENT = "silent"
    LEFT_AREA = "left_area"
    BATTERY_LOW = "battery_low"
    DEVIATION = "deviation"
    SENSOR = "sensor"
    OUTAGE = "outage"


class AlarmSource(StrEnum):
    """Who or what an alarm is about; of one kind and source one alarm is open at a time."""

    OFFICER = "officer"
    RESIDENT = "resident"
    DEVICE = "device"
    AREA = "area"


class AlarmState(StrEnum):
    """The life of an alarm."""

    RAISED = "raised"
    ACKNOWLEDGED = "acknowledged"
    DISPATCHED = "dispatched"
    CLEARED = "cleared"
    FALSE = "false"


class ReportState(StrEnum):
    """The life of what an officer found; ``SAMPLED``: handled on the spot, and the desk is to look at it."""

    FILED = "filed"
    CLOSED = "closed"
    SAMPLED = "sampled"
    PASSED_ON = "passed_on"
    ANSWERED = "answered"


class ReportOutcome(StrEnum):
    """What became of a report that was passed on."""

    HANDLED = "handled"
    REFERRED = "referred"
    REFUSED = "refused"


class EvidenceKind(StrEnum):
    """What a piece of evidence is."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class EvidenceState(StrEnum):
    """The life of a piece of evidence; ``SEALED``: what has arrived is what was declared at capture."""

    UPLOADING = "uploading"
    RECEIVED = "received"
    SEALED = "sealed"
    REJECTED = "rejected"


class EvidenceFault(StrEnum):
    """Why evidence was rejected."""

    HASH_DIFFERS = "hash_differs"
    NOT_AN_IMAGE = "not_an_image"
    NOT_A_RECORDING = "not_a_recording"
    TOO_MANY_PIXELS = "too_many_pixels"
    EXPIRED = "expired"


class CustodyAct(StrEnum):
    """What stands in the custody log of a piece of evidence."""

    CREATED = "created"
    RECEIVED = "received"
    SEALED = "sealed"
    REJECTED = "rejected"
    PREVIEWED = "previewed"
    VIEWED = "viewed"
    DAMAGED = "damaged"
    RESTORED = "restored"
    SHARED = "shared"
    DOWNLOADED = "downloaded"


class ExportFault(StrEnum):
    """Why a bundle of evidence could not be made."""

    EVIDENCE_DAMAGED = "evidence_damaged"
    STORAGE_FULL = "storage_full"


class EvidenceDamage(StrEnum):
    """What is wrong with a file that was sealed."""

    ALTERED = "altered"
    MISSING = "missing"


class CallKind(StrEnum):
    """What the desk asks of those on shift: all to answer (点名), a few drawn by lot (抽查), to have read (广播)."""

    ROLL_CALL = "roll_call"
    SPOT_CHECK = "spot_check"
    BROADCAST = "broadcast"


class CallState(StrEnum):
    """The life of a call."""

    OPEN = "open"
    ENDED = "ended"
    CANCELLED = "cancelled"


class CallAnswerState(StrEnum):
    """What one officer who was asked has done: in time, after the end, not; who went off shift is excused."""

    ASKED = "asked"
    ANSWERED = "answered"
    LATE = "late"
    MISSED = "missed"
    EXCUSED = "excused"


class Due(StrEnum):
    """What a deadline is about: the times of an offer, a task, an alarm, a call, a patrol, a post, a duty level."""

    LAPSE = "lapse"
    ACCEPT = "accept"
    ARRIVE = "arrive"
    COMPLETE = "complete"
    ESCALATE = "escalate"
    ROLL_CALL = "roll_call"
    LATE = "late"
    MISS = "miss"
    OVERDUE = "overdue"
    BEGIN = "begin"
    END = "end"


class Sequence(StrEnum):
    """In which order the checkpoints of a route are to be visited; ``SHUFFLED`` is drawn anew for each patrol."""

    FIXED = "fixed"
    ANY = "any"
    SHUFFLED = "shuffled"


class PatrolState(StrEnum):
    """The life of a patrol; see ``workflows.patrols``."""

    PLANNED = "planned"
    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    ENDED_EARLY = "ended_early"
    MISSED = "missed"
    CANCELLED = "cancelled"


class PointState(StrEnum):
    """What became of a checkpoint on a patrol."""

    PENDING = "pending"
    VISITED = "visited"
    SKIPPED = "skipped"


class DutyKind(StrEnum):
    """Kinds of planned shift: 白班, 中班, 夜班, 备勤, 加班."""

    DAY = "day"
    EVENING = "evening"
    NIGHT = "night"
    STANDBY = "standby"
    EXTRA = "extra"


class PlannedShiftState(StrEnum):
    """The life of a planned shift; ``EXCUSED``: its officer need not come."""

    PLANNED = "planned"
    EXCUSED = "excused"
    CANCELLED = "cancelled"


class RosterRequestKind(StrEnum):
    """What an officer asks about a planned shift: that a colleague does it (换班), or that he need not come (请假)."""

    SWAP = "swap"
    EXCUSE = "excuse"


class RosterRequestState(StrEnum):
    """The life of a request; ``ASKED`` waits for the colleague, ``SUBMITTED`` for a supervisor."""

    ASKED = "asked"
    SUBMITTED = "submitted"
    DECLINED = "declined"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"


class Attendance(StrEnum):
    """What became of a planned shift; ``MISSING``: it has begun and nobody came, ``ABSENT``: it is over."""

    AWAITED = "awaited"
    MISSING = "missing"
    ABSENT = "absent"
    PRESENT = "present"
    EXCUSED = "excused"
    UNPLANNED = "unplanned"


class HandOverState(StrEnum):
    """The life of a hand-over; ``GIVEN`` waits for the one who takes over."""

    GIVEN = "given"
    TAKEN = "taken"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


class PhoneStanding(StrEnum):
    """How far an officer's phone is with being set up."""

    NONE = "none"
    WAITING = "waiting"
    EXPIRED = "expired"
    SET_UP = "set_up"
    REPORTED = "reported"


class PostDutyState(StrEnum):
    """The life of a duty at a post; see ``workflows.post_duties``. Whether he is on a break, its breaks say."""

    PLANNED = "planned"
    STANDING = "standing"
    RELIEVED = "relieved"
    ENDED = "ended"
    ENDED_EARLY = "ended_early"
    MISSED = "missed"
    CANCELLED = "cancelled"


class PostSituation(StrEnum):
    """How a post is held at this moment; ``EMPTY``: nobody has begun the duty whose time has come."""

    PRESENT = "present"
    AWAY = "away"
    SILENT = "silent"
    BREAK = "break"
    BREAK_OVER = "break_over"
    RELIEF_DUE = "relief_due"
    EMPTY = "empty"


class Relief(StrEnum):
    """How a change at a post was confirmed: by both officers, or by the label of the post that the next one read."""

    BOTH = "both"
    SCAN = "scan"


class DutyLevel(StrEnum):
    """勤务等级, from the ordinary day (常态) to the gravest (一级)."""

    ORDINARY = "ordinary"
    THIRD = "third"
    SECOND = "second"
    FIRST = "first"


class Verdict(StrEnum):
    """What a person found who looked at a flagged visit."""

    GENUINE = "genuine"
    DOUBTFUL = "doubtful"


class AppraisalState(StrEnum):
    """The life of an officer's appraisal: a draft may be contested and corrected, what is locked stays as it is."""

    DRAFT = "draft"
    LOCKED = "locked"


class ContestState(StrEnum):
    """What became of an officer's objection to an input of his appraisal."""

    OPEN = "open"
    UPHELD = "upheld"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class ContestRemedy(StrEnum):
    """What follows from an objection that was upheld."""

    EXCLUDE = "exclude"
    CORRECT = "correct"


class AppraisalFigure(StrEnum):
    """What is looked at in an appraisal, each for itself: nothing adds them up."""

    ROUNDS_ON_TIME = "rounds_on_time"
    COVERAGE = "coverage"
    ACCEPTANCE = "acceptance"
    ARRIVAL = "arrival"
    SILENT = "silent"
    DUTY = "duty"


class FigureUnit(StrEnum):
    """What the value of a figure is: a part of the whole from 0 to 1, or seconds."""

    SHARE = "share"
    SECONDS = "seconds"


class SilenceCause(StrEnum):
    """Why nothing was heard of a phone, as far as anybody can say afterwards."""

    OUTAGE = "outage"
    NO_NETWORK = "no_network"
    BATTERY = "battery"
    DROPOUT_PLACE = "dropout_place"
    PHONE_SETTINGS = "phone_settings"
    UNKNOWN = "unknown"


class NoticeKind(StrEnum):
    """What people are told, as ``<thing>.<participle>`` (``report.answered``: what became of an officer's report)."""

    TASK_OFFERED = "task.offered"
    TASK_ACCEPTED = "task.accepted"
    TASK_DECLINED = "task.declined"
    TASK_LAPSED = "task.lapsed"
    TASK_HANDED_BACK = "task.handed_back"
    TASK_RESOLVED = "task.resolved"
    TASK_REWORKED = "task.reworked"
    TASK_CANCELLED = "task.cancelled"
    TASK_WITHDRAWN = "task.withdrawn"
    TASK_REFERRED = "task.referred"
    TASK_REASSIGNED = "task.reassigned"
    TASK_SUSPENDED = "task.suspended"
    TASK_RESUMED = "task.resumed"
    TASK_OVERDUE = "task.overdue"
    ALARM_RAISED = "alarm.raised"
    ALARM_ESCALATED = "alarm.escalated"
    ALARM_CLEARED = "alarm.cleared"
    SOS_RAISED = "sos.raised"
    SOS_ACKNOWLEDGED = "sos.acknowledged"
    SOS_ANSWERED = "sos.answered"
    OFFICER_SILENT = "officer.silent"
    ROLL_CALL_CALLED = "roll_call.called"
    ROLL_CALL_ENDED = "roll_call.ended"
    BROADCAST_SENT = "broadcast.sent"
    BROADCAST_ENDED = "broadcast.ended"
    REPORT_ANSWERED = "report.answered"
    PATROL_LATE = "patrol.late"
    PATROL_MISSED = "patrol.missed"
    PATROL_DEVIATED = "patrol.deviated"
    APPRAISAL_OPENED = "appraisal.opened"
    APPRAISAL_DECIDED = "appraisal.decided"
    APPRAISAL_CLOSING = "appraisal.closing"
    ROSTER_CHANGED = "roster.changed"
    REQUEST_ASKED = "roster_request.asked"
    REQUEST_SUBMITTED = "roster_request.submitted"
    REQUEST_DECIDED = "roster_request.decided"
    HAND_OVER_GIVEN = "hand_over.given"
    HAND_OVER_ANSWERED = "hand_over.answered"
    POST_LATE = "post.late"
    POST_MISSED = "post.missed"
    POST_LEFT = "post.left"
    POST_RELIEF_ASKED = "post.relief_asked"
    DUTY_LEVEL_SWITCHED = "duty_level.switched"
    DUTY_LEVEL_ENDED = "duty_level.ended"


class NoticeChannel(StrEnum):
    """By what a notice travels, beside the app itself, in which every notice stands from the commit on.

    ``WECOM_ROBOT`` speaks to a town's group and to nobody by himself.
    """

    FCM = "fcm"
    WEBPUSH = "webpush"
    WECOM = "wecom"
    WECOM_ROBOT = "wecom_robot"
    WECHAT_MINI = "wechat_mini"
    WECHAT_SERVICE = "wechat_service"
    SMS = "sms"
    VOICE = "voice"
    EMAIL = "email"


class DeliveryState(StrEnum):
    """How far one channel's part is: ``FAILED`` when another channel took over, ``DEAD`` when none was left."""

    WAITING = "waiting"
    LEASED = "leased"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    DEAD = "dead"
    SKIPPED = "skipped"


class NoticeProfile(StrEnum):
    """In which order channels are tried: on the mainland's phones, or elsewhere."""

    CN = "cn"
    INTL = "intl"


class PhoneMaker(StrEnum):
    """Whose battery saver stops an officer's phone from measuring; each hides the switch elsewhere."""

    HUAWEI = "huawei"
    HONOR = "honor"
    XIAOMI = "xiaomi"
    OPPO = "oppo"
    VIVO = "vivo"
    SAMSUNG = "samsung"
    APPLE = "apple"
    OTHER = "other"
