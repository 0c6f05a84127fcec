/**
 * WGS-84 (what satellites and the API speak), GCJ-02 (what mainland base maps are drawn in) and BD-09 (Baidu's).
 *
 * The same as `geo/datum.py` on the server: `build/datum_from_server.py` writes the outline and the places by which
 * `tests/datum.test.ts` compares the two. GCJ-02 has no published specification; the formula is the one that became known in 2010 and that everybody
 * uses. Inverses are solved by iteration, so that there and back agree to far below 0.1 m. Outside mainland China the
 * three datums are one.
 */
import outline from './datum-outline.json'
import type { DatumName, LonLat } from './types'

const KRASSOVSKY_A_M = 6378245.0
const KRASSOVSKY_E2 = 0.00669342162296594323
const BD_WAVE = (Math.PI * 3000.0) / 180.0
const BD_EAST_DEG = 0.0065
const BD_NORTH_DEG = 0.006
/** Each round shrinks the error of an inverse about 40-fold or more. */
const ROUNDS = 8

const MAINLAND = outline.mainland as LonLat[]
const MACAU = outline.macau as LonLat[]
const MARGIN_DEG = 0.03
const WEST = Math.min(...MAINLAND.map(([lon]) => lon)) - MARGIN_DEG
const EAST = Math.max(...MAINLAND.map(([lon]) => lon)) + MARGIN_DEG
const SOUTH = Math.min(...MAINLAND.map(([, lat]) => lat)) - MARGIN_DEG
const NORTH = Math.max(...MAINLAND.map(([, lat]) => lat)) + MARGIN_DEG

/** Whether a WGS-84 place lies where Chinese datums are shifted; `geo/outline.py` says how that was drawn. */
export function isShifted(place: LonLat): boolean {
  return within(MAINLAND, place) && !within(MACAU, place)
}

function within(ring: LonLat[], [lon, lat]: LonLat): boolean {
  let inside = false
  let [beforeLon, beforeLat] = ring[ring.length - 1] as LonLat
  for (const [hereLon, hereLat] of ring) {
    const crosses = hereLat > lat !== beforeLat > lat
    if (crosses && lon < ((beforeLon - hereLon) * (lat - hereLat)) / (beforeLat - hereLat) + hereLon) inside = !inside
    beforeLon = hereLon
    beforeLat = hereLat
  }
  return inside
}

/** One place from a datum into another; a place outside mainland China comes back as it is. */
export function convert(place: LonLat, source: DatumName, target: DatumName): LonLat {
  const [lon, lat] = place
  const near = lon >= WEST && lon <= EAST && lat >= SOUTH && lat <= NORTH
  if (source === target || !near) return place
  let wgs = place
  let gcj: LonLat
  if (source === 'wgs84') gcj = gcjFromWgs(place)
  else {
    gcj = source === 'gcj02' ? place : undo(bdFromGcj, place)
    wgs = undo(gcjFromWgs, gcj)
  }
  if (!isShifted(wgs)) return place
  if (target === 'wgs84') return wgs
  return target === 'gcj02' ? gcj : bdFromGcj(gcj)
}

/** A place of the API (WGS-84) in the datum that a base map is drawn in. */
export function fromWgs84(place: LonLat, datum: DatumName): LonLat {
  return convert(place, 'wgs84', datum)
}

/** A place read from a base map (a click, a drawn vertex) in the datum of the API (WGS-84). */
export function toWgs84(place: LonLat, datum: DatumName): LonLat {
  return convert(place, datum, 'wgs84')
}

function undo(forward: (place: LonLat) => LonLat, [lon, lat]: LonLat): LonLat {
  let from: LonLat = [lon, lat]
  for (let round = 0; round < ROUNDS; round += 1) {
    const [toLon, toLat] = forward(from)
    from = [from[0] + (lon - toLon), from[1] + (lat - toLat)]
  }
  return from
}

function gcjFromWgs([lon, lat]: LonLat): LonLat {
  const { sin, PI } = Math
  const x = lon - 105.0
  const y = lat - 35.0
  const root = Math.sqrt(Math.abs(x))
  const ripple = 20.0 * sin(6.0 * PI * x) + 20.0 * sin(2.0 * PI * x)
  const northM =
    -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root +
    ((ripple + 20.0 * sin(PI * y) + 40.0 * sin((PI / 3.0) * y)) * 2.0) / 3.0 +
    ((160.0 * sin((PI / 12.0) * y) + 320.0 * sin((PI / 30.0) * y)) * 2.0) / 3.0
  const eastM =
    300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root +
    ((ripple + 20.0 * sin(PI * x) + 40.0 * sin((PI / 3.0) * x)) * 2.0) / 3.0 +
    ((150.0 * sin((PI / 12.0) * x) + 300.0 * sin((PI / 30.0) * x)) * 2.0) / 3.0
  const phi = (lat * PI) / 180.0
  const bulge = 1.0 - KRASSOVSKY_E2 * sin(phi) ** 2
  const meridianM = (KRASSOVSKY_A_M * (1.0 - KRASSOVSKY_E2)) / (bulge * Math.sqrt(bulge))
  const parallelM = (KRASSOVSKY_A_M / Math.sqrt(bulge)) * Math.cos(phi)
  return [lon + (eastM / parallelM) * (180.0 / PI), lat + (northM / meridianM) * (180.0 / PI)]
}

function bdFromGcj([lon, lat]: LonLat): LonLat {
  const radius = Math.sqrt(lon * lon + lat * lat) + 0.00002 * Math.sin(lat * BD_WAVE)
  const angle = Math.atan2(lat, lon) + 0.000003 * Math.cos(lon * BD_WAVE)
  return [radius * Math.cos(angle) + BD_EAST_DEG, radius * Math.sin(angle) + BD_NORTH_DEG]
}

/** A geometry with every position passed through `change`; altitudes and further numbers are kept. */
export function convertGeometry<G extends GeoJSON.Geometry>(geometry: G, change: (place: LonLat) => LonLat): G {
  const walk = (value: unknown): unknown => {
    if (!Array.isArray(value)) return value
    if (typeof value[0] === 'number') {
      const [lon, lat, ...rest] = value as number[]
      return [...change([lon as number, lat as number]), ...rest]
    }
    return value.map(walk)
  }
  if (geometry.type === 'GeometryCollection') {
    return { ...geometry, geometries: geometry.geometries.map((part) => convertGeometry(part, change)) }
  }
  return { ...geometry, coordinates: walk(geometry.coordinates) } as G
}
