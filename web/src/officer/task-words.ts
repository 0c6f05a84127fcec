/** How a task is put in words: how long, what counts next, what was refused. */
import { duration } from '@/shared/time'
import type { Locale, OfficerTask } from '@/shared/types'
import type { Press, Refusal } from '@/shared/outbox'

type T = (key: string, values?: Record<string, unknown>) => string

/** "8 min left", or "3 min over". */
export function left(until: string, nowMs: number, locale: Locale, t: T): { text: string; over: boolean } {
  const seconds = (Date.parse(until) - nowMs) / 1000
  const over = seconds < 0
  return { text: t(over ? 'tasks.over' : 'tasks.left', { duration: duration(Math.abs(seconds), locale) }), over }
}

/** The time that counts next for the officer: to answer, to arrive, to be done. */
export function nextDue({ my_state, lapses_at, arrive_due_at, complete_due_at }: OfficerTask): { kind: 'lapses' | 'arrive' | 'complete'; at: string } | null {
  if (my_state === 'offered') return lapses_at ? { kind: 'lapses', at: lapses_at } : null
  if ((my_state === 'accepted' || my_state === 'en_route') && arrive_due_at) return { kind: 'arrive', at: arrive_due_at }
  return complete_due_at ? { kind: 'complete', at: complete_due_at } : null
}

/** States in which a press finds a task that somebody else has changed meanwhile. */
const MEANWHILE = new Set([
  'open', 'accepted', 'en_route', 'on_site', 'suspended', 'declined', 'lapsed', 'withdrawn', 'handed_back', 'handed_over', 'released', 'done',
  'resolved', 'closed', 'cancelled',
])

/** What has happened meanwhile, in a sentence. */
export function meanwhile({ status, code, current }: Refusal, t: T): string {
  if (code === 'not_on_shift') return t('tasks.meanwhile.not_on_shift')
  if (status === 409 && current && MEANWHILE.has(current)) return t(`tasks.meanwhile.${current}`)
  if (status === 404) return t('tasks.meanwhile.gone')
  if (status === 422) return t('tasks.meanwhile.invalid')
  return t('tasks.meanwhile.other', { code })
}

export function refusedTitle({ action, about }: Press, t: T): string {
  return t('tasks.refused', { number: about ?? '', action: t(`tasks.actions.${action}`) })
}
