"""What notices say in Chinese."""

from backend.core.vocabulary import NoticeKind as K

TEXTS: dict[K, tuple[str, str]] = {
    K.TASK_OFFERED: (
        "新任务 {number}",
        "[{what}，][{place}，][距您约 {distance_m} 米，][请在 {answer_min} 分钟内答复，]请打开应用接单。",
    ),
    K.TASK_ACCEPTED: (
        "任务 {number} 已接单",
        "[{call_sign} ]已接单[：{what}][，{place}][，预计 {eta_min} 分钟到达]。",
    ),
    K.TASK_DECLINED: ("任务 {number} 被拒接", "[{call_sign} ]未接此任务[：{what}][，{place}]，请另行派单。"),
    K.TASK_LAPSED: ("任务 {number} 超时未接", "派单已超时[：{what}][，{place}]。"),
    K.TASK_HANDED_BACK: (
        "任务 {number} 被退回",
        "[{call_sign} ]退回了任务[：{what}][，{place}]，请重新派单。",
    ),
    K.TASK_RESOLVED: ("任务 {number} 已办结", "[{call_sign} ]已办结[：{what}][，{place}]，请核查。"),
    K.TASK_REWORKED: ("任务 {number} 需返工", "指挥席要求继续处理[：{what}][，{place}][，{due_at} 前完成]。"),
    K.TASK_CANCELLED: ("任务 {number} 已取消", "无需再处理[：{what}][，{place}]。"),
    K.TASK_WITHDRAWN: ("任务 {number} 已撤回", "此派单已不需要您[：{what}][，{place}]。"),
    K.TASK_REFERRED: ("任务 {number} 已移交公安", "此任务由公安继续处理[：{what}][，{place}]。"),
    K.TASK_REASSIGNED: ("任务 {number} 已转派", "任务改派[给 {call_sign}][：{what}][，{place}]。"),
    K.TASK_SUSPENDED: ("任务 {number} 已暂停", "因紧急求援暂停[：{what}][，{place}]。"),
    K.TASK_RESUMED: ("任务 {number} 已恢复", "请继续处理[：{what}][，{place}]。"),
    K.TASK_OVERDUE: (
        "任务 {number} 已超时",
        "[{what}，][{place}，][应于 {due_at} 前完成，]请立即处理[（{level}）]。",
    ),
    K.ALARM_RAISED: ("告警[：{what}]", "[{place}，][{call_sign}，][编号 {number}，]请查看。"),
    K.ALARM_ESCALATED: (
        "告警升级[：{what}]",
        "[{place}，][编号 {number}，][{minutes} 分钟无人受理，]请[{level}]立即处理。",
    ),
    K.ALARM_CLEARED: ("告警解除[：{what}]", "[{place}，][编号 {number}，]已解除。"),
    K.SOS_RAISED: (
        "紧急求援",
        "[{call_sign} ][{place}，][距您约 {distance_m} 米，][{at} 发出，]请立即响应。",
    ),
    K.SOS_ACKNOWLEDGED: (
        "求援已收到",
        "指挥席已[于 {at} ]收到您的求援[（{place}）]。情况危急请同时拨打 110。",
    ),
    K.SOS_ANSWERED: (
        "有人正赶来",
        "[{call_sign} ]巡逻队员正赶往[{place}][，预计 {eta_min} 分钟到达]。情况危急请同时拨打 110。",
    ),
    K.OFFICER_SILENT: ("定位中断", "[{call_sign} ]已 {minutes} 分钟没有定位。[请检查手机：{maker}]"),
    K.ROLL_CALL_CALLED: ("点名", "请在 {answer_min} 分钟内打开应用应答。"),
    K.ROLL_CALL_ENDED: ("点名结束", "[{place}：]已应答 {answered} 人，未应答 {missing} 人。"),
    K.BROADCAST_SENT: ("指挥席广播", "请打开应用查看并确认。"),
    K.BROADCAST_ENDED: ("广播已到期", "[{place}：]已确认 {answered} 人，未确认 {missing} 人。"),
    K.PATROL_LATE: ("巡更 {number} 已迟", "尚无人开始[：{what}][，{place}][，最迟 {due_at}]。"),
    K.PATROL_MISSED: ("巡更 {number} 漏巡", "未在规定时间内开始[：{what}][，{place}]。请说明原因。"),
    K.PATROL_DEVIATED: (
        "巡更 {number} 偏离路线",
        "您已离开路线[：{what}][，约 {distance_m} 米]。请说明原因或返回路线。",
    ),
    K.APPRAISAL_OPENED: (
        "{month} 考核结果可查看",
        "请打开应用核对[，如有异议请在 {last_day} 当日结束前提出]。",
    ),
    K.APPRAISAL_DECIDED: ("{month} 考核异议已处理", "您的异议处理结果：{decided}。请打开应用查看理由。"),
    K.APPRAISAL_CLOSING: (
        "{month} 考核即将锁定",
        "[异议截止日：{last_day}。][尚有 {open} 条异议待处理。]请打开应用查看。",
    ),
    K.ROSTER_CHANGED: ("班表有更新", "[{what}，][{place}，][共 {number} 个班次，]请打开应用查看。"),
    K.REQUEST_ASKED: ("同事请您换班", "[{what}][，{place}]。请打开应用答复。"),
    K.REQUEST_SUBMITTED: ("换班/请假待审批", "[{what}][，{place}]。请审批。"),
    K.REQUEST_DECIDED: ("您的申请{outcome}", "[{what}][，{place}]。请打开应用查看。"),
    K.HAND_OVER_GIVEN: ("请接班", "[{place}][，移交任务 {number} 个]。请打开应用确认接班。"),
    K.HAND_OVER_ANSWERED: ("交接班{outcome}", "[{place}]。请打开应用查看。"),
    K.POST_LATE: ("值守 {number} 无人到岗", "尚无人到岗[：{what}][，{place}][，应于 {due_at} 到岗]。"),
    K.POST_MISSED: ("值守 {number} 缺岗", "整班无人到岗[：{what}][，{place}]。请说明原因。"),
    K.POST_LEFT: (
        "值守 {number} 离岗",
        "[{call_sign} ]离开了岗位[：{what}][，{place}][，{at} 起]。请返回或说明原因。",
    ),
    K.POST_RELIEF_ASKED: (
        "值守 {number} 换岗",
        "[{call_sign} ]请求接岗[：{what}][，{place}]。请打开应用确认。",
    ),
    K.DUTY_LEVEL_SWITCHED: (
        "勤务等级：{duty_level}",
        "[{place}，]现启动{duty_level}[，至 {due_at}]。巡更计划已相应调整。",
    ),
    K.DUTY_LEVEL_ENDED: ("{duty_level}已结束", "[{place}，]{duty_level}已结束，巡更计划已相应调整。"),
    K.REPORT_ANSWERED: (
        "上报 {number} 有结果",
        "[{what}，][{place}，]处理结果[：{outcome}]，请打开应用查看。",
    ),
}

WORDS: dict[str, str] = {
    "duty_level.ordinary": "常态勤务",
    "duty_level.third": "三级勤务",
    "duty_level.second": "二级勤务",
    "duty_level.first": "一级勤务",
    "level.dispatcher": "指挥席",
    "level.supervisor": "主管",
    "decided.upheld": "成立",
    "decided.refused": "不成立",
    "outcome.handled": "已处理",
    "outcome.task_made": "已转任务",
    "outcome.closed": "已结案",
    "outcome.referred": "已移交公安",
    "outcome.refused": "不予处理",
    "outcome.approved": "已批准",
    "outcome.rejected": "未获批准",
    "outcome.declined": "被谢绝",
    "outcome.lapsed": "已失效",
    "outcome.taken": "已确认",
}
