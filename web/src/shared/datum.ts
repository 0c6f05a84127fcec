/**
 * WGS-84 (what satellites and the API speak), GCJ-02 (what mainland base maps are drawn in) and BD-09 (Baidu's).
 *
 * The same as `geo/datum.py` on the server, point for point: `tests/datum.test.ts` compares the outline and a file of
 * vectors. GCJ-02 has no published specification; the formula is the one that became known in 2010 and that everybody
 * uses. Inverses are solved by iteration, so that there and back agree to far below 0.1 m. Outside mainland China the
 * three datums are one.
 */
import type { DatumName, LonLat } from './types'

const KRASSOVSKY_A_M = 6378245.0
const KRASSOVSKY_E2 = 0.00669342162296594323
const BD_WAVE = (Math.PI * 3000.0) / 180.0
const BD_EAST_DEG = 0.0065
const BD_NORTH_DEG = 0.006
/** Each round shrinks the error of an inverse about 40-fold or more. */
const ROUNDS = 8

/** Mainland China with Hainan as a ring of WGS-84; where the numbers come from stands in `geo/datum.py`. */
// prettier-ignore
export const OUTLINE: readonly LonLat[] = [
  [124.2, 39.7], [124.4, 40.1], [126.0, 40.9], [126.9, 41.75], [128.1, 41.4], [128.1, 42.0], [129.7, 42.4],
  [130.6, 42.4], [131.1, 42.9], [131.3, 44.1], [131.0, 44.9], [133.1, 45.1], [134.7, 48.3], [132.5, 47.7],
  [131.0, 47.7], [130.7, 48.9], [127.6, 49.8], [126.9, 51.3], [125.6, 53.1], [123.5, 53.55], [120.9, 53.3],
  [120.7, 52.0], [119.3, 50.4], [117.8, 49.5], [116.7, 49.9], [115.5, 48.1], [115.9, 47.7], [117.4, 47.6],
  [118.5, 48.0], [119.8, 47.1], [119.7, 46.6], [117.4, 46.6], [115.7, 45.4], [113.6, 44.7], [111.9, 45.0],
  [111.5, 44.4], [111.9, 43.7], [110.4, 42.8], [107.5, 42.4], [105.0, 41.6], [100.3, 42.6], [96.4, 42.7],
  [95.4, 44.2], [91.0, 45.2], [90.9, 46.9], [87.8, 49.1], [85.7, 48.4], [85.6, 47.1], [83.1, 47.2],
  [82.3, 45.4], [80.0, 44.9], [80.4, 43.2], [80.2, 42.1], [76.8, 41.0], [73.8, 39.8], [73.6, 39.4],
  [74.8, 38.4], [74.9, 37.3], [77.8, 35.5], [79.0, 34.3], [78.8, 33.5], [79.2, 32.5], [78.5, 32.5],
  [78.8, 31.4], [81.0, 30.2], [86.0, 28.0], [88.9, 27.4], [92.0, 27.8], [95.3, 29.1], [97.3, 28.2],
  [98.6, 27.5], [98.7, 25.9], [97.6, 24.9], [97.6, 23.9], [98.8, 24.1], [98.9, 23.2], [99.5, 22.9],
  [99.2, 22.1], [100.2, 21.5], [101.2, 21.2], [101.8, 21.2], [101.7, 22.4], [102.5, 22.7], [103.9, 22.5],
  [105.3, 23.3], [106.7, 22.7], [106.7, 22.0], [107.9, 21.5], [108.2, 21.2], [107.9, 19.0], [108.8, 17.9],
  [110.4, 18.0], [111.6, 20.0], [113.0, 21.4], [113.5, 21.9], [113.53, 22.08], [113.545, 22.2],
  [113.549, 22.215], [113.57, 22.216], [113.6, 22.18], [113.78, 22.22], [113.86, 22.42], [113.95, 22.48],
  [114.03, 22.503], [114.07, 22.516], [114.113, 22.531], [114.16, 22.556], [114.23, 22.546], [114.3, 22.57],
  [114.5, 22.43], [114.53, 22.2], [116.5, 22.6], [118.1, 24.0], [118.21, 24.44], [118.4, 24.55], [118.9, 24.5],
  [119.9, 25.3], [119.86, 26.1], [120.8, 27.0], [122.4, 28.5], [123.1, 30.8], [122.3, 32.0], [120.9, 34.5],
  [120.9, 35.9], [123.0, 36.8], [122.8, 37.6], [121.2, 38.5], [122.6, 39.2],
]
const MARGIN_DEG = 0.03
const WEST = Math.min(...OUTLINE.map(([lon]) => lon)) - MARGIN_DEG
const EAST = Math.max(...OUTLINE.map(([lon]) => lon)) + MARGIN_DEG
const SOUTH = Math.min(...OUTLINE.map(([, lat]) => lat)) - MARGIN_DEG
const NORTH = Math.max(...OUTLINE.map(([, lat]) => lat)) + MARGIN_DEG

/** Whether a WGS-84 place lies where Chinese datums are shifted. */
export function inChina([lon, lat]: LonLat): boolean {
  let inside = false
  let [beforeLon, beforeLat] = OUTLINE[OUTLINE.length - 1] as LonLat
  for (const [hereLon, hereLat] of OUTLINE) {
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
  if (!inChina(wgs)) return place
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
