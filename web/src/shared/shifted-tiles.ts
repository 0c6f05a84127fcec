/**
 * Vector tiles for a map whose datum is not WGS-84.
 *
 * The server cuts its tiles in WGS-84; on a GCJ-02 map the same ground lies several hundred metres elsewhere, often in
 * another tile. A wanted tile is therefore put together from the one to four tiles that hold its ground, vertex by
 * vertex through the datum conversion. Source polygons carry a margin beyond their tile, so each is cut to its own
 * tile first; its true outline is kept as lines, because the cut edges are seams and not borders.
 */
import { VectorTile } from '@mapbox/vector-tile'
import { fromGeojsonVt } from '@maplibre/vt-pbf'
import { PbfReader } from 'pbf'
import type { LonLat } from './types'

type XY = [number, number]
const EXTENT = 4096
const MARGIN = 64

export interface ShiftedTileRequest {
  z: number
  x: number
  y: number
  /** WGS-84 to the map's datum, and back. */
  convert: (place: LonLat) => LonLat
  invert: (place: LonLat) => LonLat
  /** A WGS-84 tile, or null where there is nothing. */
  fetchTile: (z: number, x: number, y: number) => Promise<Uint8Array | null>
}

export async function shiftedTile(wanted: ShiftedTileRequest): Promise<ArrayBuffer> {
  const { z } = wanted
  const corners: LonLat[] = [
    placeOf(z, wanted.x, wanted.y),
    placeOf(z, wanted.x + 1, wanted.y),
    placeOf(z, wanted.x, wanted.y + 1),
    placeOf(z, wanted.x + 1, wanted.y + 1),
  ].map(wanted.invert)
  const tiles = corners.map((corner) => worldOf(z, corner))
  const xs = range(tiles.map(([x]) => Math.floor(x)))
  const ys = range(tiles.map(([, y]) => Math.floor(y)))
  const layers: Record<string, { features: OutFeature[] }> = {}

  await Promise.all(
    xs.flatMap((x) =>
      ys.map(async (y) => {
        const bytes = await wanted.fetchTile(z, x, y)
        if (!bytes || bytes.length === 0) return
        const tile = new VectorTile(new PbfReader(bytes))
        for (const [name, layer] of Object.entries(tile.layers)) {
          const out = (layers[name] ??= { features: [] }).features
          for (let index = 0; index < layer.length; index += 1) {
            const feature = layer.feature(index)
            const scale = 1 / feature.extent
            const rings = feature
              .loadGeometry()
              .map((ring) => ring.map((point): XY => [point.x * scale, point.y * scale]))
            const move = ([px, py]: XY): XY => {
              const [wx, wy] = worldOf(z, wanted.convert(placeOf(z, x + px, y + py)))
              return [(wx - wanted.x) * EXTENT, (wy - wanted.y) * EXTENT]
            }
            const common = { tags: feature.properties, ...(feature.id === undefined ? {} : { id: feature.id }) }
            if (feature.type === 1) {
              const points = rings.flat().filter(inUnit).map(move).filter(inTarget)
              if (points.length) out.push({ ...common, type: 1, geometry: points.map(rounded) })
              continue
            }
            const lines = rings.flatMap((ring) => clipLine(ring, 0, 1))
            const kept = lines.map((line) => line.map(move)).flatMap((line) => clipLine(line, -MARGIN, EXTENT + MARGIN))
            if (kept.length) out.push({ ...common, type: 2, geometry: kept.map((line) => line.map(rounded)) })
            if (feature.type === 3) {
              const polygons = rings
                .map((ring) => clipRing(ring, 0, 1))
                .filter((ring) => ring.length >= 4)
                .map((ring) => clipRing(ring.map(move), -MARGIN, EXTENT + MARGIN))
                .filter((ring) => ring.length >= 4)
              if (polygons.length) out.push({ ...common, type: 3, geometry: polygons.map((ring) => ring.map(rounded)) })
            }
          }
        }
      }),
    ),
  )
  const bytes = fromGeojsonVt(layers as never, { version: 2, extent: EXTENT })
  return bytes.slice().buffer as ArrayBuffer
}

interface OutFeature {
  type: 1 | 2 | 3
  geometry: XY[] | XY[][]
  tags: Record<string, unknown>
  id?: number
}

function range(values: number[]): number[] {
  const first = Math.min(...values)
  const last = Math.max(...values)
  return Array.from({ length: last - first + 1 }, (_, offset) => first + offset)
}

/** The place at a (fractional) tile coordinate. */
function placeOf(z: number, x: number, y: number): LonLat {
  const size = 2 ** z
  const lat = (Math.atan(Math.sinh(Math.PI * (1 - (2 * y) / size))) * 180) / Math.PI
  return [(x / size) * 360 - 180, lat]
}

/** The (fractional) tile coordinate of a place. */
function worldOf(z: number, [lon, lat]: LonLat): XY {
  const size = 2 ** z
  const sine = Math.sin((lat * Math.PI) / 180)
  return [((lon + 180) / 360) * size, (0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)) * size]
}

const rounded = ([x, y]: XY): XY => [Math.round(x), Math.round(y)]
const inUnit = ([x, y]: XY) => x >= 0 && x < 1 && y >= 0 && y < 1
const inTarget = ([x, y]: XY) => x >= -MARGIN && x <= EXTENT + MARGIN && y >= -MARGIN && y <= EXTENT + MARGIN

/** The parts of a line inside the square [low, high]² (Liang–Barsky for each segment). */
export function clipLine(line: XY[], low: number, high: number): XY[][] {
  const parts: XY[][] = []
  let part: XY[] = []
  for (let index = 1; index < line.length; index += 1) {
    const from = line[index - 1] as XY
    const to = line[index] as XY
    const inside = clipSegment(from, to, low, high)
    if (!inside) {
      if (part.length) parts.push(part)
      part = []
      continue
    }
    const [start, end] = inside
    if (part.length === 0) part.push(start)
    part.push(end)
    if (end[0] !== to[0] || end[1] !== to[1]) {
      parts.push(part)
      part = []
    }
  }
  if (part.length) parts.push(part)
  return parts.filter((one) => one.length > 1)
}

function clipSegment([x0, y0]: XY, [x1, y1]: XY, low: number, high: number): [XY, XY] | null {
  let enter = 0
  let leave = 1
  const dx = x1 - x0
  const dy = y1 - y0
  for (const [direction, distance] of [
    [-dx, x0 - low],
    [dx, high - x0],
    [-dy, y0 - low],
    [dy, high - y0],
  ] as XY[]) {
    if (direction === 0) {
      if (distance < 0) return null
      continue
    }
    const at = distance / direction
    if (direction < 0) enter = Math.max(enter, at)
    else leave = Math.min(leave, at)
    if (enter > leave) return null
  }
  return [
    enter === 0 ? [x0, y0] : [x0 + enter * dx, y0 + enter * dy],
    leave === 1 ? [x1, y1] : [x0 + leave * dx, y0 + leave * dy],
  ]
}

/** A ring cut to the square [low, high]² (Sutherland–Hodgman), closed. */
export function clipRing(ring: XY[], low: number, high: number): XY[] {
  let points = ring.slice(0, -1)
  for (const [axis, limit, keepsAbove] of [
    [0, low, true],
    [0, high, false],
    [1, low, true],
    [1, high, false],
  ] as [0 | 1, number, boolean][]) {
    const inside = (point: XY) => (keepsAbove ? point[axis] >= limit : point[axis] <= limit)
    const next: XY[] = []
    for (let index = 0; index < points.length; index += 1) {
      const here = points[index] as XY
      const before = points[(index + points.length - 1) % points.length] as XY
      if (inside(here) !== inside(before)) {
        const at = (limit - before[axis]) / (here[axis] - before[axis])
        next.push([before[0] + at * (here[0] - before[0]), before[1] + at * (here[1] - before[1])])
      }
      if (inside(here)) next.push(here)
    }
    points = next
    if (points.length === 0) return []
  }
  return [...points, points[0] as XY]
}
