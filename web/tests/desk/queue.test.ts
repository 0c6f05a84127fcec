import { describe, expect, it } from 'vitest'
import { callsForHelp, isOverdue, lampOf, queueOf } from '@/desk/dispatch/queue'
import type { DeskAlarm, DeskTask } from '@/desk/types'

const NOW = Date.parse('2026-11-23T08:00:00Z')
const at = (s: number) => new Date(NOW + s * 1000).toISOString()

function task(id: string, more: Partial<DeskTask> = {}): DeskTask {
  return {
    id, state: 'open', priority: 'normal', place: [120, 30], created_at: at(-60), overdue: null, assignments: [],
    accept_due_at: null, arrive_due_at: null, complete_due_at: null, accepted_at: null, filled_at: null, arrived_at: null,
    resolved_at: null, closed_at: null, cancelled_at: null, area: { id: 'north' }, ...more,
  } as DeskTask
}
function alarm(id: string, more: Partial<DeskAlarm> = {}): DeskAlarm {
  return {
    id, kind: 'silent', state: 'raised', priority: 'high', level: 0, raised_at: at(-60), place: null, task_id: null,
    area: { id: 'north' }, ...more,
  } as DeskAlarm
}
const order = (tasks: DeskTask[], alarms: DeskAlarm[], areas: Set<string> | null = null) =>
  queueOf(tasks, alarms, areas, NOW).map((row) => row.id)

describe('the queue', () => {
  it('has unacknowledged SOS first, then the overdue, then by priority, then the oldest', () => {
    const tasks = [
      task('low', { priority: 'low' }),
      task('younger', { created_at: at(-10) }),
      task('older', { created_at: at(-600) }),
      task('late', { priority: 'low', accept_due_at: at(-1) }),
      task('critical', { priority: 'critical' }),
    ]
    const alarms = [alarm('silent'), alarm('sos', { kind: 'sos', priority: 'critical', raised_at: at(-1) })]
    expect(order(tasks, alarms)).toEqual(['sos', 'late', 'critical', 'silent', 'older', 'younger', 'low'])
  })

  it('shows a task instead of its alarm, but an SOS that nobody has taken on beside its task', () => {
    const sent = alarm('sent', { kind: 'sos', state: 'dispatched', task_id: 't' })
    const waiting = alarm('waiting', { kind: 'sos', task_id: 'u' })
    expect(order([task('t'), task('u')], [sent, waiting])).toEqual(['waiting', 't', 'u'])
  })

  it('is narrowed to areas, but never without an SOS that nobody has taken on', () => {
    const sos = alarm('sos', { kind: 'sos', area: { id: 'south' } as DeskAlarm['area'] })
    expect(order([task('t'), task('s', { area: { id: 'south' } as DeskTask['area'] })], [sos], new Set(['north']))).toEqual(['sos', 't'])
  })

  it('puts what is done and waits for a look behind what is still to be done', () => {
    expect(order([task('done', { state: 'resolved', priority: 'critical' }), task('todo', { priority: 'low' })], [])).toEqual(['todo', 'done'])
  })

  it('counts calls for help that nobody has taken on, the longest waiting first', () => {
    const calls = [
      alarm('b', { kind: 'sos', raised_at: at(-5) }),
      alarm('a', { kind: 'sos', raised_at: at(-50) }),
      alarm('c', { kind: 'sos', state: 'acknowledged' }),
      alarm('d'),
    ]
    expect(callsForHelp(calls).map((one) => one.id)).toEqual(['a', 'b'])
  })
})

describe('lamps', () => {
  it('wait, warn, are missed by the clock before the server says so, and keep whether it was in time', () => {
    const due = { accept_due_at: at(300) }
    expect(lampOf(task('t'), 'accept', NOW)).toBe('off')
    expect(lampOf(task('t', due), 'accept', NOW)).toBe('waiting')
    expect(lampOf(task('t', due), 'accept', NOW + 250_000)).toBe('soon')
    expect(lampOf(task('t', due), 'accept', NOW + 300_000)).toBe('missed')
    expect(lampOf(task('t', { ...due, accepted_at: at(10) }), 'accept', NOW + 900_000)).toBe('done')
    expect(lampOf(task('t', { ...due, accepted_at: at(310) }), 'accept', NOW)).toBe('missed')
    expect(lampOf(task('t', { arrive_due_at: at(5), cancelled_at: at(1) }), 'arrive', NOW + 60_000)).toBe('off')
  })

  it('do not call a task overdue for a step that is done', () => {
    expect(isOverdue(task('t', { accept_due_at: at(-5) }), NOW)).toBe(true)
    expect(isOverdue(task('t', { state: 'accepted', accept_due_at: at(-5) }), NOW)).toBe(false)
    expect(isOverdue(task('t', { state: 'on_site', arrived_at: at(-1), arrive_due_at: at(-5) }), NOW)).toBe(false)
    expect(isOverdue(task('t', { state: 'resolved', resolved_at: at(-1), complete_due_at: at(-5) }), NOW)).toBe(false)
  })
})
