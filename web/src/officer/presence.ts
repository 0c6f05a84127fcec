/**
 * Since when the phone has been at a checkpoint, by its own fixes.
 *
 * A hint for the one who holds it: the server decides by all that it knows. Who moves has to be inside the fence; to
 * him who stands the error of the receiver is granted. A place belongs to the nearest checkpoint only.
 */
import type { OfficerCheckpoint } from '@/shared/types'
import { metresBetween } from './ground'
import type { Here } from './recorder'

export type Fence = Pick<OfficerCheckpoint, 'id' | 'place' | 'radius_m' | 'min_dwell_s'>
export interface Stay {
  checkpointId: string
  /** Milliseconds since the epoch, of the device. */
  since: number
  until: number
}

const STILL_MPS = 0.6
const MOST_DOUBT_M = 40
/** A single fix that has gone astray does not end a stay. */
const OUT_MS = 15_000
/** After so long without a fix nobody knows whether one has stayed. */
const GAP_MS = 180_000

export function fenceAround(here: Here, fences: Fence[]): Fence | null {
  const stands = here.speed_mps === null || here.speed_mps < STILL_MPS
  const granted = stands ? Math.min(MOST_DOUBT_M, here.accuracy_m) : 0
  const near = fences.map((fence) => ({ fence, metres: metresBetween(here.place, fence.place) })).sort((a, b) => a.metres - b.metres)[0]
  return near && near.metres <= near.fence.radius_m + granted ? near.fence : null
}

/** The stay that goes on or begins with one more fix, or null where one is at none. */
export function follow(stay: Stay | null, here: Here, fences: Fence[]): Stay | null {
  const fence = fenceAround(here, fences)
  const goesOn = stay !== null && here.t - stay.until < GAP_MS
  if (goesOn && fence?.id === stay.checkpointId) return { ...stay, until: Math.max(stay.until, here.t) }
  if (goesOn && here.t - stay.until < OUT_MS) return stay
  return fence && { checkpointId: fence.id, since: here.t, until: here.t }
}
