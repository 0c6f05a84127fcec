/** What the phone says of planned shifts, requests and hand-overs. */
import { explain, Problem } from '@/shared/api'
import type { OfficerPlannedShift } from '@/shared/types'

type T = (key: string, values?: Record<string, unknown>) => string

const REFUSALS = new Set(['shifts_overlap', 'shift_over', 'shift_begun', 'request_open', 'roster_changed', 'not_on_shift', 'hand_over_waiting', 'wrong_state'])

export function explainRoster(error: unknown, t: T): string {
  if (error instanceof Problem && REFUSALS.has(error.code)) return t(`roster.refused.${error.code}`)
  if (error instanceof Problem && error.status === 422 && error.document.errors?.colleague_id) return t('roster.refused.colleague')
  return explain(error, t)
}

/** A day of the town, `12月1日 周二`. */
export function dayWords(day: string, locale: string): string {
  return new Intl.DateTimeFormat(locale, { timeZone: 'UTC', weekday: 'short', month: 'short', day: 'numeric' }).format(new Date(`${day}T00:00:00Z`))
}

export function shiftWords(one: OfficerPlannedShift, t: T, locale: string): string {
  return `${dayWords(one.day, locale)} ${one.from_time}–${one.until_time} ${t(`roster.kind.${one.kind}`)}`
}
