/** The day's patrols as the board groups them, and what about each is to be seen at once. */
import { paletteOf } from '../map/palette'
import type { DeskPatrol, DeskPatrolPoint } from '../types'

export const GROUPS = ['late', 'active', 'planned', 'missed', 'done'] as const
export type Group = (typeof GROUPS)[number]

export function groupOf(patrol: DeskPatrol): Group {
  if (patrol.state === 'planned') return patrol.late_at ? 'late' : 'planned'
  if (patrol.state === 'active' || patrol.state === 'paused') return 'active'
  return patrol.state === 'missed' ? 'missed' : 'done'
}

export type Sign = 'late' | 'overdue' | 'left' | 'order'

/** What went wrong with it, whatever its state. */
export function signsOf(patrol: DeskPatrol): Sign[] {
  return [
    patrol.late_at !== null && 'late',
    patrol.overdue_at !== null && 'overdue',
    patrol.deviations.length > 0 && 'left',
    patrol.in_order === false && 'order',
  ].filter((sign): sign is Sign => sign !== false)
}

/** A point on a map, by what became of it. */
export function colourOfPoint(state: DeskPatrolPoint['state'], dark: boolean): string {
  const { status } = paletteOf(dark)
  return { visited: status.moving, skipped: status.silent, pending: status.unlocated }[state]
}

export const visitedOf = (patrol: DeskPatrol) => patrol.points.filter((point) => point.state === 'visited').length
