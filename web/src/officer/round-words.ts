/** How a patrol is put in words: its time, what was refused, what a scan was worth. */
import { locale } from '@/shared/i18n'
import type { Press, Refusal } from '@/shared/outbox'
import { dayClock } from '@/shared/time'
import type { OfficerPatrol } from '@/shared/types'
import { isGoing, windowOf } from './rounds'
import { left } from './task-words'

type T = (key: string, values?: Record<string, unknown>) => string

/** What counts next: until when it may be begun, or until when it is to be done. */
export function timeOf(patrol: OfficerPatrol, now: number, t: T): { text: string; over: boolean } | null {
  if (isGoing(patrol)) {
    const due = new Date(Date.parse(patrol.began_at ?? patrol.scheduled_at) + patrol.allowed_s * 1000).toISOString()
    return left(due, now, locale.value, t)
  }
  if (patrol.state !== 'planned') return null
  const { from, until } = windowOf(patrol)
  if (now < from) return { text: t('rounds.from', { time: dayClock(from, locale.value) }), over: false }
  const late = patrol.late_at !== null
  if (until === Infinity) return { text: dayClock(patrol.scheduled_at, locale.value), over: late }
  return { text: t(late ? 'rounds.lateUntil' : 'rounds.until', { time: dayClock(until, locale.value) }), over: late }
}

const STATES = new Set(['planned', 'active', 'paused', 'completed', 'ended_early', 'missed', 'cancelled'])
const CODES = new Set(['not_on_shift', 'patrol_running', 'too_early', 'too_late', 'not_your_patrol', 'retired'])

/** Why a press was not taken. */
export function whyNot({ action }: Press, { status, code, current }: Refusal, t: T): string {
  if (CODES.has(code)) return t(`rounds.whyNot.${code}`)
  if (current === 'retired') return t('rounds.whyNot.retired')
  if (status === 404) return t(action === 'scan' ? 'rounds.whyNot.unknown_code' : 'rounds.whyNot.gone')
  if (status === 409 && current && STATES.has(current)) return t('rounds.whyNot.state', { state: t(`rounds.states.${current}`) })
  if (status === 422) return t('tasks.meanwhile.invalid')
  return t('tasks.meanwhile.other', { code })
}
export function refusedTitle({ action, about }: Press, t: T): string {
  const what = t(`rounds.actions.${action}`)
  if (action === 'scan') return t('rounds.refusedScan', { at: about ?? '' }).trim()
  return about ? t('rounds.refused', { number: about, action: what }) : t('rounds.refusedNew', { action: what })
}
