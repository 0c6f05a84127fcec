/**
 * Who is on shift and where, as this desk knows it.
 *
 * Two sources feed it: pages of `GET /desk/officers` (complete, but a picture of the past by the time they arrive)
 * and the socket (new, but only what changed). Three rules keep an old answer from undoing newer knowledge:
 * a position replaces another only when its `fixed_at` is later; an answer never brings back an officer whose shift
 * was seen to end after the answer was asked for; an answer removes only officers of whom nothing was heard since.
 */
import { moved, statusAt, type Motion, type Movement } from './status'
import type { DeskOfficer, PositionRow } from '../types'
import type { LivePosition, OfficerStatus } from '@/shared/types'

export interface Place {
  lon: number
  lat: number
  fixedAtS: number
  accuracyM: number | null
  speedMps: number | null
  headingDeg: number | null
  batteryPct: number | null
  charging: boolean | null
  areaId: string | null
}

export interface Tracked {
  readonly id: string
  officer: DeskOfficer
  place: Place | null
  movement: Movement | null
  /** What the roster had seen when the description of this officer was asked for. */
  describedAt: number
  /** What the roster had seen when the socket last spoke of this officer. */
  heardAt: number
}

/** What the roster had seen when a question was sent; carried from the question to its answer. */
export interface Reading {
  readonly askedAt: number
  readonly ids: Set<string>
}

function placeOf(position: LivePosition): Place {
  return {
    lon: position.lon,
    lat: position.lat,
    fixedAtS: Date.parse(position.fixed_at) / 1000,
    accuracyM: position.accuracy_m,
    speedMps: position.speed_mps,
    headingDeg: position.heading_deg,
    batteryPct: position.battery_pct,
    charging: position.charging,
    areaId: position.area_id,
  }
}

/** What the server says of a place, where it can know; of a phone that tells no speed, what this desk has seen itself. */
function described(before: Movement | null, place: Place | null, status: OfficerStatus): Movement | null {
  if (!place) return null
  const own = moved(before, place)
  if (status === 'moving') return { ...own, moving: true }
  return place.speedMps === null ? own : { ...own, moving: false }
}

export class Roster {
  readonly officers = new Map<string, Tracked>()
  private seen = 0
  /** Officers whose shift ended, with what the roster had seen by then. */
  private readonly ended = new Map<string, number>()

  /** Call before a question is sent, and hand the reading to `merge` and `complete` with the answer. */
  ask(): Reading {
    this.seen += 1
    return { askedAt: this.seen, ids: new Set() }
  }

  /** One page, or one officer, of an answer. */
  merge(reading: Reading, officers: readonly DeskOfficer[]): void {
    for (const officer of officers) {
      reading.ids.add(officer.id)
      const ended = this.ended.get(officer.id)
      if (ended !== undefined) {
        if (ended >= reading.askedAt) continue
        this.ended.delete(officer.id)
      }
      const place = officer.position ? placeOf(officer.position) : null
      const known = this.officers.get(officer.id)
      if (!known) {
        this.officers.set(officer.id, {
          id: officer.id,
          officer,
          place,
          movement: described(null, place, officer.status),
          describedAt: reading.askedAt,
          heardAt: 0,
        })
        continue
      }
      if (reading.askedAt < known.describedAt) continue
      const sameShift = known.officer.shift_id === officer.shift_id
      known.describedAt = reading.askedAt
      known.officer = officer
      if (!sameShift && known.heardAt < reading.askedAt) {
        known.place = place
        known.movement = described(null, place, officer.status)
      } else if (place && (!known.place || place.fixedAtS > known.place.fixedAtS)) {
        known.place = place
        known.movement = described(known.movement, place, officer.status)
      }
    }
  }

  /** All pages of the answer are here: whoever is missing from it, and was not heard of since, is off shift. */
  complete(reading: Reading): string[] {
    const gone: string[] = []
    for (const known of this.officers.values()) {
      if (reading.ids.has(known.id) || known.heardAt >= reading.askedAt || known.describedAt > reading.askedAt) continue
      gone.push(known.id)
    }
    for (const id of gone) this.officers.delete(id)
    return gone
  }

  /**
   * A `positions` event. Returns the officers who are not on the roster, to be asked for.
   *
   * Somebody whose shift was seen to end is not among them: his last fixes may still be under way.
   */
  position(rows: readonly PositionRow[]): string[] {
    this.seen += 1
    const unknown: string[] = []
    for (const row of rows) {
      const [id, lon, lat, fixedAtS, accuracyM, speedMps, headingDeg, batteryPct, areaId, charging] = row
      const known = this.officers.get(id)
      if (!known) {
        if (!this.ended.has(id)) unknown.push(id)
        continue
      }
      known.heardAt = this.seen
      if (known.place && fixedAtS <= known.place.fixedAtS) continue
      const place: Place = {
        lon,
        lat,
        fixedAtS,
        accuracyM,
        speedMps,
        headingDeg,
        batteryPct,
        charging: charging ?? null,
        areaId,
      }
      known.movement = moved(known.movement, place)
      known.place = place
    }
    return unknown
  }

  /** His shift ended, or he is no longer visible to this desk. */
  remove(id: string): void {
    this.seen += 1
    this.ended.set(id, this.seen)
    this.officers.delete(id)
  }

  /** A shift began: answers asked for from now on may bring him back. */
  expect(id: string): void {
    this.ended.delete(id)
  }

  clear(): void {
    this.officers.clear()
    this.ended.clear()
  }
}

export function motionOf(tracked: Tracked): Motion {
  return {
    fixedAtS: tracked.place?.fixedAtS ?? null,
    moving: tracked.movement?.moving ?? false,
    silentAfterS: tracked.officer.silent_after_s,
  }
}

export function statusOf(tracked: Tracked, nowS: number): OfficerStatus {
  return statusAt(motionOf(tracked), nowS)
}
