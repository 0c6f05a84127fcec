/** Whether an officer moves, stands, is silent or was never located: told again every second, not only by the server. */
import type { OfficerStatus } from '@/shared/types'

/** Slower than this is standing, as on the server; a phone lying still reports a few decimetres a second of noise. */
export const MOVING_MPS = 0.8
/** A battery at or below this needs somebody's attention. */
export const LOW_BATTERY_PCT = 15

export const STATUSES: readonly OfficerStatus[] = ['silent', 'unlocated', 'moving', 'still']

export interface Motion {
  fixedAtS: number | null
  moving: boolean
  silentAfterS: number
}

/**
 * The status at a moment of server time.
 *
 * Silence is judged by the age of the newest fix, so an officer turns silent on every screen by himself, also on one
 * that has lost the server.
 */
export function statusAt(motion: Motion, nowS: number): OfficerStatus {
  if (motion.fixedAtS === null) return 'unlocated'
  if (nowS - motion.fixedAtS > motion.silentAfterS) return 'silent'
  return motion.moving ? 'moving' : 'still'
}

const METRES_PER_DEGREE = 111_320

export function metresBetween(lonA: number, latA: number, lonB: number, latB: number): number {
  const east = (lonB - lonA) * METRES_PER_DEGREE * Math.cos((((latA + latB) / 2) * Math.PI) / 180)
  const north = (latB - latA) * METRES_PER_DEGREE
  return Math.hypot(east, north)
}

export interface Seen {
  lon: number
  lat: number
  fixedAtS: number
  accuracyM: number | null
  speedMps: number | null
}

/**
 * Whether two fixes in a row show somebody on the move.
 *
 * A reported speed decides. Without one, he moves when he left the circle of uncertainty at more than standing pace.
 */
export function isMoving(before: Seen | null, now: Seen): boolean {
  if (now.speedMps !== null) return now.speedMps >= MOVING_MPS
  if (!before) return false
  const seconds = now.fixedAtS - before.fixedAtS
  if (seconds <= 0) return false
  const metres = metresBetween(before.lon, before.lat, now.lon, now.lat)
  return metres > Math.max(10, now.accuracyM ?? 0) && metres / seconds >= MOVING_MPS
}
