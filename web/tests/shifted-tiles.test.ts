import { GeoJSONVT } from '@maplibre/geojson-vt'
import { fromGeojsonVt } from '@maplibre/vt-pbf'
import { VectorTile } from '@mapbox/vector-tile'
import { PbfReader } from 'pbf'
import { describe, expect, it } from 'vitest'
import { fromWgs84, toWgs84 } from '@/shared/datum'
import { shiftedTile } from '@/shared/shifted-tiles'
import type { LonLat } from '@/shared/types'

const Z = 15
const CENTER: LonLat = [121.3, 31.1]
const at = (x: number, y: number): LonLat => [
  (x / 2 ** Z) * 360 - 180,
  (Math.atan(Math.sinh(Math.PI * (1 - (2 * y) / 2 ** Z))) * 180) / Math.PI,
]
const tileOf = ([lon, lat]: LonLat): [number, number] => {
  const sine = Math.sin((lat * Math.PI) / 180)
  return [((lon + 180) / 360) * 2 ** Z, (0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)) * 2 ** Z]
}
function metres([lonA, latA]: LonLat, [lonB, latB]: LonLat): number {
  return Math.hypot((lonA - lonB) * 111_320 * Math.cos((latA * Math.PI) / 180), (latA - latB) * 110_574)
}

/** A server whose only road runs right across many tiles, and whose only area is one large square. */
const road: LonLat[] = Array.from({ length: 61 }, (_, n) => [121.27 + n * 0.001, 31.09 + n * 0.0004])
const square: LonLat[] = [[121.28, 31.08], [121.32, 31.08], [121.32, 31.12], [121.28, 31.12], [121.28, 31.08]]
const index = new GeoJSONVT(
  {
    type: 'FeatureCollection',
    features: [
      { type: 'Feature', properties: { kind: 'street', name_zh: '人民路' }, geometry: { type: 'LineString', coordinates: road } },
      { type: 'Feature', properties: { kind: 'community' }, geometry: { type: 'Polygon', coordinates: [square] } },
    ],
  },
  { maxZoom: Z, indexMaxZoom: Z, buffer: 64, extent: 4096, tolerance: 0 },
)
const fetchTile = async (z: number, x: number, y: number): Promise<Uint8Array | null> => {
  const tile = index.getTile(z, x, y)
  return tile ? fromGeojsonVt({ roads: tile }, { version: 2, extent: 4096 }) : null
}
async function shifted(x: number, y: number) {
  const bytes = await shiftedTile({
    z: Z,
    x,
    y,
    convert: (place) => fromWgs84(place, 'gcj02'),
    invert: (place) => toWgs84(place, 'gcj02'),
    fetchTile,
  })
  const layer = new VectorTile(new PbfReader(new Uint8Array(bytes))).layers.roads
  if (!layer) return []
  return Array.from({ length: layer.length }, (_, n) => layer.feature(n))
}

describe('a tile for a base map in GCJ-02', () => {
  const [cx, cy] = tileOf(CENTER).map(Math.floor) as [number, number]

  it('shows every point of a road where the base map shows it, within a metre', async () => {
    for (const [x, y] of [[cx, cy], [cx + 1, cy], [cx, cy - 1]] as const) {
      for (const feature of await shifted(x, y)) {
        if (feature.properties.kind !== 'street') continue
        expect(feature.properties.name_zh).toBe('人民路')
        for (const point of feature.loadGeometry().flat()) {
          const back = toWgs84(at(x + point.x / 4096, y + point.y / 4096), 'gcj02')
          const along = (back[0] - 121.27) / 0.001
          const expected: LonLat = [back[0], 31.09 + along * 0.0004]
          expect(metres(back, expected)).toBeLessThan(1)
        }
      }
    }
  })

  it('leaves no hole in a road that crosses from tile to tile', async () => {
    let covered = 0
    for (let x = cx - 5; x <= cx + 5; x += 1) {
      for (let y = cy - 5; y <= cy + 5; y += 1) {
        for (const feature of await shifted(x, y)) {
          if (feature.properties.kind !== 'street') continue
          for (const line of feature.loadGeometry()) {
            for (let n = 1; n < line.length; n += 1) {
              const [a, b] = [line[n - 1]!, line[n]!]
              // Only what lies inside the tile: the margin is drawn twice on purpose.
              const steps = 50
              for (let s = 0; s < steps; s += 1) {
                const px = a.x + ((b.x - a.x) * (s + 0.5)) / steps
                const py = a.y + ((b.y - a.y) * (s + 0.5)) / steps
                if (px < 0 || px >= 4096 || py < 0 || py >= 4096) continue
                covered += metres(at(x + a.x / 4096, y + a.y / 4096), at(x + b.x / 4096, y + b.y / 4096)) / steps
              }
            }
          }
        }
      }
    }
    const gcj = road.map((place) => fromWgs84(place, 'gcj02'))
    const length = gcj.slice(1).reduce((sum, place, n) => sum + metres(gcj[n]!, place), 0)
    expect(Math.abs(covered - length)).toBeLessThan(length * 0.002)
  })

  it('draws the border of an area as a line, and no line where tiles were cut', async () => {
    const border = square.map((place) => fromWgs84(place, 'gcj02'))
    for (const feature of await shifted(cx, cy)) {
      // This tile lies in the middle of the area: it is filled whole and has no border.
      if (feature.properties.kind === 'community') expect(feature.type).toBe(3)
    }
    const [ex, ey] = tileOf(border[1]!).map(Math.floor) as [number, number]
    const lines = (await shifted(ex, ey)).filter(({ type, properties }) => type === 2 && properties.kind === 'community')
    for (const point of lines.flatMap((line) => line.loadGeometry().flat())) {
      const [lon, lat] = toWgs84(at(ex + point.x / 4096, ey + point.y / 4096), 'gcj02')
      expect(Math.min(Math.abs(lon - 121.32) * 95_000, Math.abs(lat - 31.08) * 110_574)).toBeLessThan(1.5)
    }
    expect(lines.length).toBeGreaterThan(0)
  })
})
