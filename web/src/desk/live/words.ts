/** Sentences about an officer that the list, the details and the map share. */
import { duration } from '@/shared/time'
import type { Locale } from '@/shared/types'
import type { Tracked } from './roster'

const KINDS = new Set(['police', 'auxiliary', 'patrol', 'guard', 'volunteer'])

export function isKnownKind(kind: string | null): kind is string {
  return kind !== null && KINDS.has(kind)
}

export function fullName(tracked: Tracked): string {
  const { call_sign: callSign, display_name: name } = tracked.officer
  return callSign ? `${callSign} ${name}` : name
}

/** The age of a fix, short enough for a list: 8 s, 3 min, 2 h 5 min. */
export function ageText(ageS: number, locale: Locale): string {
  return duration(ageS, locale)
}

/** One of eight directions: 0 is north, then clockwise. */
export function octant(headingDeg: number): number {
  return Math.round((((headingDeg % 360) + 360) % 360) / 45) % 8
}
