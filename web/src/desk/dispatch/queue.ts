/** The order in which things burn, and the lamps of what is due. */
import type { DeskAlarm, DeskTask, Priority } from '../types'
import type { LonLat } from '@/shared/types'

export type Picked = { kind: 'task' | 'alarm'; id: string }

/** A row of the queue: a task, or an alarm that no task stands for. */
export type Row =
  | { kind: 'task'; id: string; task: DeskTask; place: LonLat; priority: Priority; sinceMs: number; overdue: boolean; burns: boolean }
  | { kind: 'alarm'; id: string; alarm: DeskAlarm; place: LonLat | null; priority: Priority; sinceMs: number; overdue: boolean; burns: boolean }

const WEIGHT: Record<Priority, number> = { critical: 0, high: 1, normal: 2, low: 3 }

export function callsForHelp(alarms: Iterable<DeskAlarm>): DeskAlarm[] {
  return [...alarms]
    .filter((alarm) => alarm.kind === 'sos' && alarm.state === 'raised')
    .sort((a, b) => Date.parse(a.raised_at) - Date.parse(b.raised_at))
}

export function placeOf(alarm: DeskAlarm): LonLat | null {
  return alarm.place ? [alarm.place.lon, alarm.place.lat] : null
}

export type Due = 'accept' | 'arrive' | 'complete'
export type Lamp = 'done' | 'off' | 'waiting' | 'soon' | 'missed'
const SOON_S = 60

/** Whether a time is kept, as the server judges it (`overdue`), and ahead of it by the clock until the server's word comes. */
export function lampOf(task: DeskTask, due: Due, nowMs: number): Lamp {
  const at = { accept: task.accept_due_at, arrive: task.arrive_due_at, complete: task.complete_due_at }[due]
  if (!at) return 'off'
  const over = task.closed_at ?? task.cancelled_at
  const reached = {
    accept: task.filled_at ?? task.accepted_at,
    arrive: task.arrived_at,
    complete: task.resolved_at,
  }[due]
  if (reached) return Date.parse(reached) > Date.parse(at) ? 'missed' : 'done'
  if (over) return 'off'
  const leftS = (Date.parse(at) - nowMs) / 1000
  if (leftS <= 0 || task.overdue === due) return 'missed'
  return leftS <= SOON_S ? 'soon' : 'waiting'
}

/** A time was missed, and what it was for has still not happened. */
export function isOverdue(task: DeskTask, nowMs: number): boolean {
  if (task.overdue) return true
  if (task.resolved_at || task.closed_at || task.cancelled_at) return false
  const missed = (at: string | null) => at !== null && Date.parse(at) <= nowMs
  const unaccepted = task.state === 'open' || task.state === 'offered'
  return (unaccepted && missed(task.accept_due_at)) || (!task.arrived_at && missed(task.arrive_due_at)) || missed(task.complete_due_at)
}

export function rowOfTask(task: DeskTask, nowMs: number): Row {
  return {
    kind: 'task', id: task.id, task, place: task.place, priority: task.priority,
    sinceMs: Date.parse(task.created_at), overdue: isOverdue(task, nowMs), burns: false,
  }
}

export function rowOfAlarm(alarm: DeskAlarm): Row {
  return {
    kind: 'alarm', id: alarm.id, alarm, place: placeOf(alarm), priority: alarm.priority,
    sinceMs: Date.parse(alarm.raised_at), overdue: alarm.state === 'raised' && alarm.level > 0,
    burns: alarm.kind === 'sos' && alarm.state === 'raised',
  }
}

/** What waits to be looked at after the work is done comes last: nobody is in need of it. */
function rest(row: Row): number {
  return row.kind === 'task' && row.task.state === 'resolved' ? 1 : 0
}

export function compareRows(a: Row, b: Row): number {
  return (
    Number(b.burns) - Number(a.burns) ||
    rest(a) - rest(b) ||
    Number(b.overdue) - Number(a.overdue) ||
    WEIGHT[a.priority] - WEIGHT[b.priority] ||
    a.sinceMs - b.sinceMs ||
    (a.id < b.id ? -1 : 1)
  )
}

/** Unacknowledged SOS, then overdue, then by priority, then by age; within the areas, if any are chosen. */
export function queueOf(
  tasks: Iterable<DeskTask>,
  alarms: Iterable<DeskAlarm>,
  areaIds: ReadonlySet<string> | null,
  nowMs: number,
): Row[] {
  const rows: Row[] = []
  for (const alarm of alarms) {
    // Once people were sent, the task stands for it; an SOS that nobody has taken on stands for itself as well.
    if (alarm.task_id && alarm.state !== 'raised') continue
    rows.push(rowOfAlarm(alarm))
  }
  for (const task of tasks) rows.push(rowOfTask(task, nowMs))
  // An SOS that nobody has taken on is never filtered away.
  const inside = (row: Row) => row.burns || !areaIds || areaIds.has((row.kind === 'task' ? row.task : row.alarm).area.id)
  return rows.filter(inside).sort(compareRows)
}

/** How many of those needed have accepted. */
export function staffing(task: DeskTask): { needed: number; going: number; asked: number } {
  const going = task.assignments.filter((share) => ['accepted', 'en_route', 'on_site', 'suspended', 'done'].includes(share.state))
  return { needed: task.needed, going: going.length, asked: task.assignments.filter((share) => share.state === 'offered').length }
}
