/** Whether an officer moves, stands, is silent or was never located: told again every second, not only by the server. */
import type { OfficerStatus } from '@/shared/types'

/** As on the server: a walk is this fast; a phone lying still stays below the next; between them nothing changes. */
export const MOVING_MPS = 0.8
export const STILL_MPS = 0.4
export const STILL_RADIUS_M = 20
export const STILL_AFTER_S = 60
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

/** Whether somebody moves, and the fix around which he has stayed. */
export interface Movement {
  moving: boolean
  spot: Seen
}

/**
 * The movement after one more, newer fix; the same rule as `geo/motion.py` has, so that the list of the server and what
 * is heard over the socket agree.
 *
 * The reported speed decides where it is clear. Where it is missing or between the thresholds, the place decides: leaving
 * the spot is moving, staying within it for a while is not.
 */
export function moved(before: Movement | null, now: Seen): Movement {
  const speed = now.speedMps
  if (!before) return { moving: speed !== null && speed >= MOVING_MPS, spot: now }
  const { spot } = before
  const left = metresBetween(spot.lon, spot.lat, now.lon, now.lat) > Math.max(STILL_RADIUS_M, now.accuracyM ?? 0)
  const next = left ? now : spot
  if (speed !== null && speed >= MOVING_MPS) return { moving: true, spot: next }
  if (speed !== null && speed < STILL_MPS) return { moving: false, spot: next }
  return { moving: left || (before.moving && now.fixedAtS - next.fixedAtS < STILL_AFTER_S), spot: next }
}
