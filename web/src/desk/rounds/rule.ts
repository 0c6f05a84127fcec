/** The rule of a plan (RFC 5545) as plain choices, and back; what fits no choice stays as it was written. */

export type Often = 'daily' | 'weekdays' | 'days' | 'monthly' | 'own'
export const WEEK = ['MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU'] as const
const WEEKDAYS = 'MO,TU,WE,TH,FR'

export interface Choices {
  often: Often
  days: string[]
  monthDays: number[]
  /** Hours besides that of `starts_at`, at the same minute. */
  alsoAt: number[]
  own: string
}

export const DAILY: Choices = { often: 'daily', days: [], monthDays: [], alsoAt: [], own: '' }

function parse(rule: string): Map<string, string> {
  return new Map(rule.split(';').map((part) => part.split('=', 2) as [string, string]))
}

const hourOf = (startsAt: string) => Number(startsAt.slice(0, 2))

export function choicesOf(rule: string, startsAt: string): Choices {
  const own: Choices = { ...DAILY, often: 'own', own: rule }
  const parts = parse(rule)
  const [every, days, monthDays, hours] = ['FREQ', 'BYDAY', 'BYMONTHDAY', 'BYHOUR'].map((key) => parts.get(key))
  if ([...parts.keys()].some((key) => !['FREQ', 'BYDAY', 'BYMONTHDAY', 'BYHOUR'].includes(key))) return own
  const all = hours ? hours.split(',').map(Number) : [hourOf(startsAt)]
  // The time that is shown first is one of the rule's, or the choices would add it.
  if (!all.includes(hourOf(startsAt))) return own
  const alsoAt = all.filter((hour) => hour !== hourOf(startsAt))
  if (every === 'DAILY' && !days && !monthDays) return { ...DAILY, alsoAt }
  if (every === 'WEEKLY' && days === WEEKDAYS && !monthDays) return { ...DAILY, often: 'weekdays', alsoAt }
  if (every === 'WEEKLY' && days && !monthDays && days.split(',').every((day) => (WEEK as readonly string[]).includes(day))) {
    return { ...DAILY, often: 'days', days: days.split(','), alsoAt }
  }
  if (every === 'MONTHLY' && monthDays && !days && monthDays.split(',').every((day) => Number(day) > 0)) {
    return { ...DAILY, often: 'monthly', monthDays: monthDays.split(',').map(Number), alsoAt }
  }
  return own
}

/** Null while something is yet to be chosen. */
export function ruleOf(choices: Choices, startsAt: string): string | null {
  if (choices.often === 'own') return choices.own.trim() || null
  const hours = [...new Set([hourOf(startsAt), ...choices.alsoAt])].sort((a, b) => a - b)
  const at = hours.length > 1 ? `;BYHOUR=${hours.join(',')}` : ''
  if (choices.often === 'daily') return `FREQ=DAILY${at}`
  if (choices.often === 'weekdays') return `FREQ=WEEKLY;BYDAY=${WEEKDAYS}${at}`
  if (choices.often === 'days') {
    const days = WEEK.filter((day) => choices.days.includes(day))
    return days.length > 0 ? `FREQ=WEEKLY;BYDAY=${days.join(',')}${at}` : null
  }
  const days = [...choices.monthDays].sort((a, b) => a - b)
  return days.length > 0 ? `FREQ=MONTHLY;BYMONTHDAY=${days.join(',')}${at}` : null
}
