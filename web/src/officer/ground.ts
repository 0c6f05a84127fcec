/** Distances and lines on the ground, for what the phone shows; the server's figures are its own. */
import type { LonLat } from '@/shared/types'

const EARTH_RADIUS_M = 6_371_008.8

export function metresBetween([lonA, latA]: LonLat, [lonB, latB]: LonLat): number {
  const rad = Math.PI / 180
  const dLat = (latB - latA) * rad
  const dLon = (lonB - lonA) * rad
  const a = Math.sin(dLat / 2) ** 2 + Math.cos(latA * rad) * Math.cos(latB * rad) * Math.sin(dLon / 2) ** 2
  return 2 * EARTH_RADIUS_M * Math.asin(Math.min(1, Math.sqrt(a)))
}

export interface Step {
  /** Milliseconds since the epoch. */
  t: number
  place: LonLat
  accuracy_m: number | null
}

/** Over so much time without a fix nobody knows where the officer was: the line breaks there. */
export const GAP_MS = 180_000
/** Worse than this is not drawn into the line, it would zigzag. */
export const DRAWN_ACCURACY_M = 100

/** The walk as unbroken pieces in time order, without the fixes that are too vague to draw. */
export function segments(steps: Step[]): Step[][] {
  const pieces: Step[][] = []
  let piece: Step[] = []
  for (const step of [...steps].sort((a, b) => a.t - b.t)) {
    if (step.accuracy_m !== null && step.accuracy_m > DRAWN_ACCURACY_M) continue
    const before = piece[piece.length - 1]
    if (before && step.t === before.t) continue
    if (before && step.t - before.t > GAP_MS) {
      pieces.push(piece)
      piece = []
    }
    piece.push(step)
  }
  if (piece.length) pieces.push(piece)
  return pieces
}

/** Metres walked. Movement below the accuracy of the fixes is noise and does not count. */
export function walkedM(steps: Step[]): number {
  let total = 0
  for (const piece of segments(steps)) {
    let anchor = piece[0]
    for (const step of piece) {
      if (!anchor) break
      const moved = metresBetween(anchor.place, step.place)
      const noise = Math.min(30, Math.max(5, (step.accuracy_m ?? 10) * 0.5))
      if (moved >= noise) {
        total += moved
        anchor = step
      }
    }
  }
  return total
}

/** A circle of a radius in metres as a ring of WGS-84. */
export function circle([lon, lat]: LonLat, radiusM: number, points = 48): LonLat[] {
  const dLat = (radiusM / EARTH_RADIUS_M) * (180 / Math.PI)
  const dLon = dLat / Math.max(0.01, Math.cos((lat * Math.PI) / 180))
  return Array.from({ length: points + 1 }, (_, index) => {
    const angle = (index / points) * 2 * Math.PI
    return [lon + dLon * Math.sin(angle), lat + dLat * Math.cos(angle)]
  })
}
