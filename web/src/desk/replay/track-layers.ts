/** The whole tracks of a replay on the map, faint, with gaps dashed; what was just walked is drawn brighter above them. */
import { MercatorCoordinate, type GeoJSONSource, type Map as MapLibreMap } from 'maplibre-gl'
import type { LonLat } from '@/shared/types'
import type { Pen } from '../map/markers'
import { indexAt, type Reel } from './playback'

const LINES = 'replay-lines'
const GAPS = 'replay-gaps'

type ToMap = (place: LonLat) => LonLat

/** The lines of the tracks, or the straight bridges over their gaps. */
export function trackFeatures(
  reels: readonly Reel[],
  colourOf: (reel: Reel) => string,
  toMap: ToMap,
  what: 'lines' | 'gaps',
): GeoJSON.FeatureCollection {
  const features: GeoJSON.Feature[] = []
  for (const reel of reels) {
    let start = 0
    for (let index = 1; index <= reel.times.length; index += 1) {
      const ends = index === reel.times.length || reel.segments[index] !== reel.segments[start]
      if (!ends) continue
      if (what === 'lines' && index - start > 1) {
        const coordinates: LonLat[] = []
        for (let at = start; at < index; at += 1) coordinates.push(toMap([reel.lons[at]!, reel.lats[at]!]))
        features.push({
          type: 'Feature',
          properties: { id: reel.id, colour: colourOf(reel) },
          geometry: { type: 'LineString', coordinates },
        })
      } else if (what === 'gaps' && index < reel.times.length) {
        features.push({
          type: 'Feature',
          properties: { id: reel.id, colour: colourOf(reel) },
          geometry: {
            type: 'LineString',
            coordinates: [
              toMap([reel.lons[index - 1]!, reel.lats[index - 1]!]),
              toMap([reel.lons[index]!, reel.lats[index]!]),
            ],
          },
        })
      }
      start = index
    }
  }
  return { type: 'FeatureCollection', features }
}

/** Puts the layers on the map, or new data into them. Called again after every change of style. */
export function showTracks(map: MapLibreMap, reels: readonly Reel[], colourOf: (reel: Reel) => string, toMap: ToMap): void {
  for (const [source, what] of [
    [LINES, 'lines'],
    [GAPS, 'gaps'],
  ] as const) {
    const data = trackFeatures(reels, colourOf, toMap, what)
    const known = map.getSource(source) as GeoJSONSource | undefined
    if (known) {
      known.setData(data)
      continue
    }
    map.addSource(source, { type: 'geojson', data })
    map.addLayer({
      id: source,
      type: 'line',
      source,
      layout: { 'line-join': 'round', 'line-cap': what === 'lines' ? 'round' : 'butt' },
      paint:
        what === 'lines'
          ? { 'line-color': ['get', 'colour'], 'line-width': 2.2, 'line-opacity': 0.5 }
          : { 'line-color': ['get', 'colour'], 'line-width': 1.4, 'line-opacity': 0.6, 'line-dasharray': [2, 3] },
    })
  }
}

/** The way of the last minutes behind each officer. */
export class Tails {
  private xs = new Map<string, Float64Array>()
  private ys = new Map<string, Float64Array>()

  set(reels: readonly Reel[], toMap: ToMap): void {
    this.xs.clear()
    this.ys.clear()
    for (const reel of reels) {
      const xs = new Float64Array(reel.times.length)
      const ys = new Float64Array(reel.times.length)
      for (let index = 0; index < xs.length; index += 1) {
        const place = MercatorCoordinate.fromLngLat(toMap([reel.lons[index]!, reel.lats[index]!]))
        xs[index] = place.x
        ys[index] = place.y
      }
      this.xs.set(reel.id, xs)
      this.ys.set(reel.id, ys)
    }
  }

  draw(
    pen: Pen,
    reel: Reel,
    timeS: number,
    tailS: number,
    colour: string,
    casing: string,
    head: { x: number; y: number } | null,
  ): void {
    const xs = this.xs.get(reel.id)
    const ys = this.ys.get(reel.id)
    const last = indexAt(reel, timeS)
    if (!xs || !ys || last < 0) return
    const first = Math.max(0, indexAt(reel, timeS - tailS))
    const line = new Path2D()
    let drawn = false
    for (let index = first; index <= last; index += 1) {
      const x = xs[index]! * pen.scale - pen.left
      const y = ys[index]! * pen.scale - pen.top
      if (index === first || reel.segments[index] !== reel.segments[index - 1]) line.moveTo(x, y)
      else {
        line.lineTo(x, y)
        drawn = true
      }
    }
    if (head && last + 1 < reel.times.length && reel.segments[last] === reel.segments[last + 1]) {
      line.lineTo(head.x * pen.scale - pen.left, head.y * pen.scale - pen.top)
      drawn = true
    }
    if (!drawn) return
    const { context } = pen
    context.lineJoin = 'round'
    context.lineCap = 'round'
    context.globalAlpha = 0.6
    context.lineWidth = 6.5
    context.strokeStyle = casing
    context.stroke(line)
    context.globalAlpha = 1
    context.lineWidth = 3.4
    context.strokeStyle = colour
    context.stroke(line)
  }
}
