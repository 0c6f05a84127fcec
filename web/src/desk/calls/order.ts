/** In which order answers are shown, and how a call's figures are put: who has not answered comes first. */
import type { CallAnswer, DeskCall } from '../types'

const WEIGHT: Record<CallAnswer['state'], number> = { missed: 0, asked: 1, late: 2, answered: 3, excused: 4 }

export function compareAnswers(a: CallAnswer, b: CallAnswer): number {
  return (
    WEIGHT[a.state] - WEIGHT[b.state] ||
    (a.answered_at ?? '').localeCompare(b.answered_at ?? '') ||
    a.officer.display_name.localeCompare(b.officer.display_name)
  )
}

/** How much of a call is done, from 0 to 1: of those who have to answer, not of those who are excused. */
export function share({ counts }: DeskCall): number {
  const have = counts.asked - counts.excused
  return have > 0 ? (counts.answered + counts.late) / have : 1
}

/** The phone's own time is worth telling where it differs from when the server heard of it. */
export function pressedBefore({ answered_at, answered_device_at }: CallAnswer): boolean {
  return answered_at !== null && answered_device_at !== null && Math.abs(Date.parse(answered_at) - Date.parse(answered_device_at)) > 30_000
}
