"""What notices say in English."""

from backend.core.vocabulary import NoticeKind as K

TEXTS: dict[K, tuple[str, str]] = {
    K.TASK_OFFERED: (
        "New task {number}",
        "[{what}. ][{place}. ][About {distance_m} m away. ][Please answer within {answer_min} min. ]Open the app to"
        " accept.",
    ),
    K.TASK_ACCEPTED: (
        "Task {number} accepted",
        "Accepted[ by {call_sign}][: {what}][, {place}][, there in {eta_min} min].",
    ),
    K.TASK_DECLINED: (
        "Task {number} declined",
        "Declined[ by {call_sign}][: {what}][, {place}]. Please offer it to another.",
    ),
    K.TASK_LAPSED: ("Task {number} lapsed", "The offer was not answered in time[: {what}][, {place}]."),
    K.TASK_HANDED_BACK: (
        "Task {number} handed back",
        "Handed back[ by {call_sign}][: {what}][, {place}]. Please dispatch it anew.",
    ),
    K.TASK_RESOLVED: (
        "Task {number} resolved",
        "Resolved[ by {call_sign}][: {what}][, {place}]. Please verify.",
    ),
    K.TASK_REWORKED: (
        "Task {number} needs more work",
        "The desk asks you to go on[: {what}][, {place}][, by {due_at}].",
    ),
    K.TASK_CANCELLED: ("Task {number} cancelled", "Nothing more to do[: {what}][, {place}]."),
    K.TASK_WITHDRAWN: ("Task {number} withdrawn", "You are no longer needed[: {what}][, {place}]."),
    K.TASK_REFERRED: (
        "Task {number} handed over to the police",
        "The police go on with it[: {what}][, {place}].",
    ),
    K.TASK_REASSIGNED: (
        "Task {number} reassigned",
        "It goes to another[: {call_sign}][, {what}][, {place}].",
    ),
    K.TASK_SUSPENDED: ("Task {number} suspended", "Suspended for a call for help[: {what}][, {place}]."),
    K.TASK_RESUMED: ("Task {number} resumed", "Please go on[: {what}][, {place}]."),
    K.TASK_OVERDUE: (
        "Task {number} overdue",
        "[{what}. ][{place}. ][Due at {due_at}. ]Please act now[ ({level})].",
    ),
    K.ALARM_RAISED: ("Alarm[: {what}]", "[{place}. ][{call_sign}. ][No. {number}. ]Please look."),
    K.ALARM_ESCALATED: (
        "Alarm escalated[: {what}]",
        "[{place}. ][No. {number}. ][Nobody took it for {minutes} min. ]Please act now[ ({level})].",
    ),
    K.ALARM_CLEARED: ("Alarm cleared[: {what}]", "[{place}. ][No. {number}. ]Cleared."),
    K.SOS_RAISED: (
        "Call for help",
        "[{call_sign}. ][{place}. ][About {distance_m} m away. ][Sent at {at}. ]Please respond now.",
    ),
    K.SOS_ACKNOWLEDGED: (
        "Your call was received",
        "The desk has your call for help[ ({place})][ since {at}]. In danger also dial 110.",
    ),
    K.SOS_ANSWERED: (
        "Somebody is coming",
        "An officer[ ({call_sign})] is on the way[ to {place}][, there in {eta_min} min]. In danger also dial 110.",
    ),
    K.OFFICER_SILENT: (
        "No position",
        "[{call_sign}: ]no position for {minutes} min.[ Please check the phone: {maker}]",
    ),
    K.ROLL_CALL_CALLED: ("Roll call", "Please open the app and answer within {answer_min} min."),
    K.ROLL_CALL_ENDED: ("Roll call is over", "[{place}: ]{answered} answered, {missing} did not."),
    K.BROADCAST_SENT: ("Message from the desk", "Please open the app, read and confirm."),
    K.BROADCAST_ENDED: ("Message has expired", "[{place}: ]{answered} confirmed, {missing} did not."),
    K.PATROL_LATE: (
        "Patrol {number} is late",
        "Nobody has begun it yet[: {what}][, {place}][, until {due_at}].",
    ),
    K.PATROL_MISSED: (
        "Patrol {number} was missed",
        "Nobody began it in its time[: {what}][, {place}]. Please say why.",
    ),
    K.PATROL_DEVIATED: (
        "Off the route of patrol {number}",
        "You have left the route[: {what}][, by about {distance_m} m]. Please say why, or go back.",
    ),
    K.APPRAISAL_OPENED: (
        "Your appraisal of {month}",
        "Please look at it in the app[ and object by {last_day} if something is wrong].",
    ),
    K.APPRAISAL_DECIDED: (
        "Objection of {month} was decided",
        "Your objection was {decided}. The app shows the reason.",
    ),
    K.APPRAISAL_CLOSING: (
        "Appraisal of {month} is about to be locked",
        "[Objections are taken until the end of {last_day}. ][{open} of them wait for a decision. ]"
        "Please open the app.",
    ),
    K.ROSTER_CHANGED: (
        "Your roster has changed",
        "[{what}, ][{place}, ][{number} shifts: ]please open the app.",
    ),
    K.REQUEST_ASKED: (
        "A colleague would like to swap",
        "[{what}][, {place}]. Please open the app and answer.",
    ),
    K.REQUEST_SUBMITTED: ("A request about the roster", "[{what}][, {place}]. Please decide."),
    K.REQUEST_DECIDED: ("Your request: {outcome}", "[{what}][, {place}]. Please open the app."),
    K.HAND_OVER_GIVEN: (
        "A hand-over for you",
        "[{place}][, {number} open tasks]. Please open the app and confirm.",
    ),
    K.HAND_OVER_ANSWERED: ("Your hand-over: {outcome}", "[{place}]. Please open the app."),
    K.POST_LATE: (
        "Nobody at post, duty {number}",
        "Nobody has come yet[: {what}][, {place}][, due at {due_at}].",
    ),
    K.POST_MISSED: (
        "Post duty {number} was missed",
        "Nobody has stood there[: {what}][, {place}]. Please say why.",
    ),
    K.POST_LEFT: (
        "Away from post, duty {number}",
        "[{call_sign}: ]away from the post[: {what}][, {place}][, since {at}]. Please go back, or say why.",
    ),
    K.POST_RELIEF_ASKED: (
        "Relief at post, duty {number}",
        "[{call_sign}: ]here to relieve you[: {what}][, {place}]. Open the app to confirm.",
    ),
    K.DUTY_LEVEL_SWITCHED: (
        "Duty level: {duty_level}",
        "[{place}: ]now {duty_level}[, until {due_at}]. The plans of rounds follow.",
    ),
    K.DUTY_LEVEL_ENDED: (
        "Duty level is over: {duty_level}",
        "[{place}: ]{duty_level} is over. The plans of rounds follow.",
    ),
    K.REPORT_ANSWERED: (
        "Report {number} was answered",
        "[{what}. ][{place}. ][Result: {outcome}. ]Open the app for more.",
    ),
}

WORDS: dict[str, str] = {
    "duty_level.ordinary": "the ordinary level",
    "duty_level.third": "level three",
    "duty_level.second": "level two",
    "duty_level.first": "level one",
    "level.dispatcher": "dispatcher",
    "level.supervisor": "supervisor",
    "decided.upheld": "upheld",
    "decided.refused": "refused",
    "outcome.handled": "handled",
    "outcome.task_made": "made a task",
    "outcome.closed": "closed",
    "outcome.referred": "handed over to the police",
    "outcome.refused": "refused",
    "outcome.approved": "approved",
    "outcome.rejected": "not approved",
    "outcome.declined": "declined",
    "outcome.lapsed": "lapsed",
    "outcome.taken": "taken over",
}
