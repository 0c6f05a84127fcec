/** Shapes of rounds: the fence around a checkpoint, and the line of a route as it is drawn and bent. */
import type { LonLat } from '@/shared/types'

const METRES_PER_DEGREE = 111_320
const CORNERS = 48

/** The fence as a closed ring of WGS-84 places. */
export function fenceAround([lon, lat]: LonLat, radiusM: number): LonLat[] {
  const shrink = Math.cos((lat * Math.PI) / 180)
  return Array.from({ length: CORNERS + 1 }, (_, n) => {
    const angle = (2 * Math.PI * (n % CORNERS)) / CORNERS
    return [
      lon + (Math.cos(angle) * radiusM) / (METRES_PER_DEGREE * shrink),
      lat + (Math.sin(angle) * radiusM) / METRES_PER_DEGREE,
    ]
  })
}

/** Vertices can be dragged, and so can the middle of each leg, which becomes a vertex by it. */
export interface Handle {
  place: LonLat
  index: number
  middle: boolean
}

/**
 * The handles that are drawn: none nearer than `apartM` to the one before it, but the ends and the one that is chosen,
 * so that a long line is not one chain of dots; nearer by, more of them come.
 */
export function handlesOf(line: readonly LonLat[], apartM = 0, chosen: number | null = null): Handle[] {
  let last: LonLat | null = null
  return line.flatMap((place, index) => {
    const next = line[index + 1]
    const needed = index === 0 || !next || index === chosen
    if (!needed && last && metres(last, place) < apartM) return []
    last = place
    const own: Handle = { place, index, middle: false }
    if (!next || metres(place, next) < 2 * apartM) return [own]
    return [own, { place: [(place[0] + next[0]) / 2, (place[1] + next[1]) / 2] as LonLat, index, middle: true }]
  })
}

function metres(a: LonLat, b: LonLat): number {
  const east = (b[0] - a[0]) * Math.cos((a[1] * Math.PI) / 180)
  return Math.hypot(east, b[1] - a[1]) * METRES_PER_DEGREE
}

/** The line after a handle was dragged to a place; `bend` of the same handle again replaces the new vertex. */
export function bend(line: readonly LonLat[], handle: Pick<Handle, 'index' | 'middle'>, to: LonLat): LonLat[] {
  return handle.middle
    ? [...line.slice(0, handle.index + 1), to, ...line.slice(handle.index + 1)]
    : line.map((place, index) => (index === handle.index ? to : place))
}

/** The line without a vertex; two stay, or it would be none. */
export function without(line: readonly LonLat[], index: number): LonLat[] {
  return line.length > 2 ? line.filter((_, at) => at !== index) : [...line]
}
