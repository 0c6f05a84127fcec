/**
 * Where everybody was at a moment of a replay, and what a slider over that time needs.
 *
 * A gap is a gap: between two segments nobody knows where the officer was, so he is shown faded where he was last
 * seen and is not moved along a line that nobody walked.
 */
import type { ReplayTrack } from '../types'

export interface Interval {
  fromS: number
  toS: number
}

export interface Spot {
  /** `here`: between two fixes of a segment; `gap`: last seen here; `before` the first and `after` the last fix. */
  state: 'here' | 'gap' | 'before' | 'after'
  lon: number
  lat: number
  headingDeg: number | null
  speedMps: number | null
  /** The fix at or before the moment. */
  index: number
  /** In a gap: how long it lasts in all. */
  gapS: number
}

/** A track made ready for thousands of questions a second. */
export interface Reel {
  id: string
  name: string
  /** The call sign, or the name of who has none: short enough for the map. */
  label: string
  times: Float64Array
  lons: Float64Array
  lats: Float64Array
  speeds: Float32Array
  /** Of each fix, the segment that it belongs to. */
  segments: Uint32Array
  intervals: Interval[]
}

export function reelOf(track: Pick<ReplayTrack, 'officer_id' | 'display_name' | 'call_sign' | 'segments'>): Reel {
  const segments = track.segments.filter((segment) => segment.length > 0)
  const count = segments.reduce((sum, segment) => sum + segment.length, 0)
  const reel: Reel = {
    id: track.officer_id,
    name: track.call_sign ? `${track.call_sign} ${track.display_name}` : track.display_name,
    label: track.call_sign || track.display_name,
    times: new Float64Array(count),
    lons: new Float64Array(count),
    lats: new Float64Array(count),
    speeds: new Float32Array(count),
    segments: new Uint32Array(count),
    intervals: [],
  }
  let at = 0
  segments.forEach((segment, number) => {
    for (const [lon, lat, timeS, speedMps] of segment) {
      reel.lons[at] = lon
      reel.lats[at] = lat
      reel.times[at] = timeS
      reel.speeds[at] = speedMps ?? NaN
      reel.segments[at] = number
      at += 1
    }
    reel.intervals.push({ fromS: segment[0]![2], toS: segment[segment.length - 1]![2] })
  })
  return reel
}

/** The last fix at or before the moment; -1 before the first. */
export function indexAt(reel: Reel, timeS: number): number {
  const { times } = reel
  let low = 0
  let high = times.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (times[middle]! <= timeS) low = middle + 1
    else high = middle
  }
  return low - 1
}

function bearing(lonA: number, latA: number, lonB: number, latB: number): number | null {
  const east = (lonB - lonA) * Math.cos((latA * Math.PI) / 180)
  const north = latB - latA
  // About two metres: less than that is noise and would make the arrow spin.
  if (Math.hypot(east, north) < 2e-5) return null
  return ((Math.atan2(east, north) * 180) / Math.PI + 360) % 360
}

export function spotAt(reel: Reel, timeS: number): Spot | null {
  const { times, lons, lats, speeds, segments } = reel
  const last = times.length - 1
  if (last < 0) return null
  const index = indexAt(reel, timeS)
  const still = (state: Spot['state'], at: number, gapS = 0): Spot => ({
    state,
    lon: lons[at]!,
    lat: lats[at]!,
    headingDeg: null,
    speedMps: null,
    index,
    gapS,
  })
  if (index < 0) return still('before', 0)
  if (index >= last) return times[last] === timeS ? still('here', last) : still('after', last)
  const next = index + 1
  if (segments[index] !== segments[next]) {
    if (times[index] === timeS) return still('here', index)
    return still('gap', index, times[next]! - times[index]!)
  }
  const span = times[next]! - times[index]!
  const part = span > 0 ? (timeS - times[index]!) / span : 0
  const speed = speeds[index]!
  return {
    state: 'here',
    lon: lons[index]! + (lons[next]! - lons[index]!) * part,
    lat: lats[index]! + (lats[next]! - lats[index]!) * part,
    headingDeg: bearing(lons[index]!, lats[index]!, lons[next]!, lats[next]!),
    speedMps: Number.isNaN(speed) ? null : speed,
    index,
    gapS: 0,
  }
}

/** The times in which at least one of the officers has a track, joined where they touch. */
export function activity(reels: readonly Reel[]): Interval[] {
  const all = reels.flatMap((reel) => reel.intervals).sort((a, b) => a.fromS - b.fromS)
  const joined: Interval[] = []
  for (const interval of all) {
    const open = joined[joined.length - 1]
    if (open && interval.fromS <= open.toS) open.toS = Math.max(open.toS, interval.toS)
    else joined.push({ ...interval })
  }
  return joined
}

/** Where time goes on when nobody has a track at the moment; the moment itself when somebody has, or nobody will. */
export function skipGap(active: readonly Interval[], timeS: number): number {
  for (const interval of active) {
    if (timeS <= interval.toS) return Math.max(timeS, interval.fromS)
  }
  return timeS
}

export interface Playing {
  fromS: number
  toS: number
  speed: number
  skipGaps: boolean
  active: readonly Interval[]
}

/** The moment shown after `elapsedMs` of watching. Stops at the end. */
export function advance(timeS: number, elapsedMs: number, playing: Playing): number {
  let next = timeS + (elapsedMs / 1000) * playing.speed
  if (playing.skipGaps) next = skipGap(playing.active, next)
  return Math.min(playing.toS, Math.max(playing.fromS, next))
}

/** The parts of the time in which the officer has no track, between the two ends of the replay. */
export function gapsOf(reel: Reel, fromS: number, toS: number): Interval[] {
  const gaps: Interval[] = []
  let at = fromS
  for (const interval of reel.intervals) {
    if (interval.fromS > at) gaps.push({ fromS: at, toS: Math.min(interval.fromS, toS) })
    at = Math.max(at, interval.toS)
  }
  if (at < toS) gaps.push({ fromS: at, toS })
  return gaps
}

/** Twelve hues that stay apart on the light and on the dark map; more officers than that begin again. */
export const TRACK_COLOURS = [
  '#2f9bff',
  '#ff8a1f',
  '#1fbf75',
  '#e0508f',
  '#a679ff',
  '#c9a400',
  '#00b5c8',
  '#ef5b4c',
  '#7a9e1d',
  '#cf6fd6',
  '#b7794a',
  '#6f8dc9',
] as const

export function colourOf(position: number): string {
  return TRACK_COLOURS[position % TRACK_COLOURS.length]!
}

/** Round steps for the marks under the slider: as many as fit, never closer than asked for. */
export function ticks(fromS: number, toS: number, most: number): { stepS: number; at: number[] } {
  const steps = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400]
  const span = Math.max(1, toS - fromS)
  const stepS = steps.find((step) => span / step <= most) ?? 86400
  const at: number[] = []
  for (let mark = Math.ceil(fromS / stepS) * stepS; mark <= toS; mark += stepS) at.push(mark)
  return { stepS, at }
}
