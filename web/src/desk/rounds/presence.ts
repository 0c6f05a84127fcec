/** How a duty at a post is put on the board: its group, and its time as a bar in which what is unknown stands apart. */
import type { DeskPostDuty } from '../types'

export const DUTY_GROUPS = ['uncovered', 'standing', 'planned', 'over'] as const
export type DutyGroup = (typeof DUTY_GROUPS)[number]

const TROUBLE = new Set(['empty', 'away', 'break_over', 'silent', 'relief_due'])

/** What needs a look comes first: posts that nobody holds just now, or of which nobody knows. */
export function dutyGroupOf({ situation, state }: DeskPostDuty): DutyGroup {
  if (situation && TROUBLE.has(situation)) return 'uncovered'
  if (state === 'standing') return 'standing'
  return state === 'planned' ? 'planned' : 'over'
}

export interface BarPart {
  where: string
  from: number
  share: number
}

/** The parts of a duty as shares of its whole time, in per cent; what is still to come is left empty. */
export function barOf({ presence, starts_at, ends_at }: Pick<DeskPostDuty, 'presence' | 'starts_at' | 'ends_at'>): BarPart[] {
  const parts = presence?.parts ?? []
  const begin = Math.min(Date.parse(starts_at), ...parts.map((part) => Date.parse(part.since)))
  const whole = Math.max(Date.parse(ends_at), ...parts.map((part) => Date.parse(part.until))) - begin
  return parts.map((part) => ({
    where: part.where,
    from: (100 * (Date.parse(part.since) - begin)) / whole,
    share: (100 * (Date.parse(part.until) - Date.parse(part.since))) / whole,
  }))
}

/** Whole per cent that never say more than is so: 99.6 is not yet all of it. */
export const wholePercent = (percent: number | null | undefined): number | null => (percent == null ? null : Math.floor(percent + 1e-9))

export function enoughOf(presence: DeskPostDuty['presence']): 'yes' | 'no' | 'open' {
  return presence?.is_enough === true ? 'yes' : presence?.is_enough === false ? 'no' : 'open'
}
