/** A patrol beside its replay: the line and the fences it goes along, and what happened on it and when. */
import type { GeoJSONSource, Map as MapLibreMap } from 'maplibre-gl'
import { MAP_FONTS } from '@/shared/map'
import type { LonLat } from '@/shared/types'
import { paletteOf } from '../map/palette'
import { colourOfPoint } from '../rounds/board'
import { fenceAround } from '../rounds/line'
import type { DeskPatrol, DeskPatrolPoint, DeskRouteDrawn } from '../types'

export interface Round {
  patrol: DeskPatrol
  /** As it is now; null without a right to see it, and then the points stand alone. */
  route: DeskRouteDrawn | null
}
export type Deviation = DeskPatrol['deviations'][number]
export interface RoundEvent {
  id: string
  kind: 'begin' | 'visit' | 'skip' | 'left' | 'end'
  fromS: number
  toS: number
  point: DeskPatrolPoint | null
  deviation: Deviation | null
  /** Somebody should look at it: a flag on a visit, a time off the corridor. */
  bad: boolean
}

const MINUTE_MS = 60_000
const BESIDE_MS = 5 * MINUTE_MS
const seconds = (at: string) => Date.parse(at) / 1000

/** The time of a patrol, and some minutes before and after it; null of one that nobody has begun. */
export function spanOf({ began_at, ended_at }: DeskPatrol, nowMs: number): { fromMs: number; toMs: number } | null {
  if (!began_at) return null
  const toMs = ended_at ? Date.parse(ended_at) + BESIDE_MS : nowMs + MINUTE_MS
  return { fromMs: Date.parse(began_at) - BESIDE_MS, toMs }
}

/** What happened on it, in order. A stay that goes on, and a way off the corridor that does, lasts until now. */
export function eventsOf(patrol: DeskPatrol, nowMs: number): RoundEvent[] {
  const event = (id: string, kind: RoundEvent['kind'], from: string, to: string | null, more: Partial<RoundEvent> = {}): RoundEvent => ({
    id, kind, fromS: seconds(from), toS: to ? seconds(to) : nowMs / 1000, point: null, deviation: null, bad: false, ...more,
  })
  const points = patrol.points.flatMap((point) => {
    const { visit, skipped_at, visited_at, checkpoint } = point
    if (visit) return [event(checkpoint.id, 'visit', visit.arrived_at, visit.left_at, { point, bad: visit.flags.length > 0 || visit.verdict === 'doubtful' })]
    const at = visited_at ?? skipped_at
    return at ? [event(checkpoint.id, visited_at ? 'visit' : 'skip', at, at, { point })] : []
  })
  const left = patrol.deviations.map((deviation) => event(deviation.id, 'left', deviation.began_at, deviation.ended_at, { deviation, bad: true }))
  const ends = [
    patrol.began_at && event('begin', 'begin', patrol.began_at, patrol.began_at),
    patrol.ended_at && event('end', 'end', patrol.ended_at, patrol.ended_at),
  ].filter((one) => one !== null && one !== '')
  return [...ends, ...points, ...left].sort((a, b) => a.fromS - b.fromS)
}

/** Everything that a map should show of it. */
export function placesOf({ patrol, route }: Round): LonLat[] {
  return [...patrol.points.map((point) => point.checkpoint.place as LonLat), ...((route?.line ?? []) as LonLat[])]
}

const LINE = 'round-line'
const FENCES = 'round-fences'
const NAMES = 'round-names'
const UNKNOWN_RADIUS_M = 25
const collection = (features: GeoJSON.Feature[]): GeoJSON.FeatureCollection => ({ type: 'FeatureCollection', features })

/** Puts the layers under the tracks, or new data into them. Called again after every change of style. */
export function showRound(map: MapLibreMap, round: Round | null, toMap: (place: LonLat) => LonLat, dark: boolean, name: (point: DeskPatrolPoint) => string): void {
  const { accent, ink, halo } = paletteOf(dark)
  const radii = new Map(round?.route?.checkpoints.map((one) => [one.id, one.radius_m]))
  const points = round?.patrol.points ?? []
  const about = (point: DeskPatrolPoint) => ({ colour: colourOfPoint(point.state, dark), name: name(point) })
  const line = (round?.route?.line ?? null) as LonLat[] | null
  const data = {
    [LINE]: collection(line ? [{ type: 'Feature', properties: {}, geometry: { type: 'LineString', coordinates: line.map(toMap) } }] : []),
    [FENCES]: collection(
      points.map((point) => ({
        type: 'Feature',
        properties: about(point),
        geometry: {
          type: 'Polygon',
          coordinates: [fenceAround(point.checkpoint.place as LonLat, radii.get(point.checkpoint.id) ?? UNKNOWN_RADIUS_M).map(toMap)],
        },
      })),
    ),
    [NAMES]: collection(
      points.map((point) => ({ type: 'Feature', properties: about(point), geometry: { type: 'Point', coordinates: toMap(point.checkpoint.place as LonLat) } })),
    ),
  }
  for (const [id, features] of Object.entries(data)) {
    const known = map.getSource(id) as GeoJSONSource | undefined
    if (known) known.setData(features)
    else map.addSource(id, { type: 'geojson', data: features })
  }
  if (map.getLayer(LINE)) return
  map.addLayer({ id: LINE, type: 'line', source: LINE, layout: { 'line-join': 'round', 'line-cap': 'round' }, paint: { 'line-color': accent, 'line-width': 7, 'line-opacity': 0.25 } })
  map.addLayer({ id: FENCES, type: 'fill', source: FENCES, paint: { 'fill-color': ['get', 'colour'], 'fill-opacity': 0.25, 'fill-outline-color': ['get', 'colour'] } })
  map.addLayer({
    id: NAMES,
    type: 'symbol',
    source: NAMES,
    minzoom: 13,
    layout: { 'text-field': ['get', 'name'], 'text-font': MAP_FONTS, 'text-size': 12, 'text-anchor': 'top', 'text-offset': [0, 0.9] },
    paint: { 'text-color': ink, 'text-halo-color': halo, 'text-halo-width': 1.4 },
  })
}
