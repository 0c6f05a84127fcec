/** What the roster's screens say of kinds and refusals. */
import { Problem } from '@/shared/api'
import { explainAct } from '../dispatch/acts'

export const KINDS = ['day', 'evening', 'night', 'standby', 'extra'] as const
const REFUSALS = new Set(['shifts_overlap', 'shift_over', 'shift_begun', 'roster_changed', 'own_request', 'area_not_yours', 'bad_roster', 'wrong_state'])
/** Fields of which a 422 says that they do not fit. */
const FIELDS = new Set(['officer_id', 'day'])

export function explainRoster(error: unknown, t: (key: string, values?: Record<string, unknown>) => string): string {
  if (error instanceof Problem) {
    if (REFUSALS.has(error.code)) return t(`roster.refused.${error.code}`, { detail: error.detail })
    const field = Object.keys(error.document.errors ?? {}).find((name) => FIELDS.has(name))
    if (error.status === 422 && field) return t(`roster.refused.${field}`)
  }
  return explainAct(error, t)
}
