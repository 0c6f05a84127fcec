/**
 * WGS-84 (what satellites and the API speak), GCJ-02 (what mainland base maps are drawn in) and BD-09 (Baidu's).
 *
 * The forward polynomial of GCJ-02 is the one that every public implementation shares (Krasovsky 1940 ellipsoid).
 * The inverse is found by fixed-point iteration, so that there and back agree to far below 0.1 m. Outside the box
 * in which mainland maps are shifted every conversion is the identity. `geo/datum.py` is the same on the server.
 */
import type { DatumName, LonLat } from './types'

const SEMI_MAJOR_AXIS_M = 6378245.0
const ECCENTRICITY_SQUARED = 0.00669342162296594323
const BD_ANGLE = (Math.PI * 3000.0) / 180.0

export function outsideChina(lon: number, lat: number): boolean {
  return lon < 72.004 || lon > 137.8347 || lat < 0.8293 || lat > 55.8271
}

function shiftOf(lon: number, lat: number): LonLat {
  const x = lon - 105.0
  const y = lat - 35.0
  const root = Math.sqrt(Math.abs(x))
  const wave = ((20.0 * Math.sin(6.0 * x * Math.PI) + 20.0 * Math.sin(2.0 * x * Math.PI)) * 2.0) / 3.0
  let north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root + wave
  north += ((20.0 * Math.sin(y * Math.PI) + 40.0 * Math.sin((y / 3.0) * Math.PI)) * 2.0) / 3.0
  north += ((160.0 * Math.sin((y / 12.0) * Math.PI) + 320.0 * Math.sin((y * Math.PI) / 30.0)) * 2.0) / 3.0
  let east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root + wave
  east += ((20.0 * Math.sin(x * Math.PI) + 40.0 * Math.sin((x / 3.0) * Math.PI)) * 2.0) / 3.0
  east += ((150.0 * Math.sin((x / 12.0) * Math.PI) + 300.0 * Math.sin((x / 30.0) * Math.PI)) * 2.0) / 3.0
  const latRad = (lat / 180.0) * Math.PI
  const magic = 1 - ECCENTRICITY_SQUARED * Math.sin(latRad) ** 2
  const sqrtMagic = Math.sqrt(magic)
  const meridian = ((SEMI_MAJOR_AXIS_M * (1 - ECCENTRICITY_SQUARED)) / (magic * sqrtMagic)) * Math.PI
  const parallel = (SEMI_MAJOR_AXIS_M / sqrtMagic) * Math.cos(latRad) * Math.PI
  return [(east * 180.0) / parallel, (north * 180.0) / meridian]
}

export function wgs84ToGcj02([lon, lat]: LonLat): LonLat {
  if (outsideChina(lon, lat)) return [lon, lat]
  const [east, north] = shiftOf(lon, lat)
  return [lon + east, lat + north]
}

export function gcj02ToWgs84([lon, lat]: LonLat): LonLat {
  if (outsideChina(lon, lat)) return [lon, lat]
  let [guessLon, guessLat]: LonLat = [lon, lat]
  for (let round = 0; round < 30; round += 1) {
    const [east, north] = shiftOf(guessLon, guessLat)
    const nextLon = lon - east
    const nextLat = lat - north
    const moved = Math.abs(nextLon - guessLon) + Math.abs(nextLat - guessLat)
    guessLon = nextLon
    guessLat = nextLat
    if (moved < 1e-11) break
  }
  return [guessLon, guessLat]
}

export function gcj02ToBd09([lon, lat]: LonLat): LonLat {
  if (outsideChina(lon, lat)) return [lon, lat]
  const radius = Math.sqrt(lon * lon + lat * lat) + 0.00002 * Math.sin(lat * BD_ANGLE)
  const angle = Math.atan2(lat, lon) + 0.000003 * Math.cos(lon * BD_ANGLE)
  return [radius * Math.cos(angle) + 0.0065, radius * Math.sin(angle) + 0.006]
}

export function bd09ToGcj02([lon, lat]: LonLat): LonLat {
  if (outsideChina(lon, lat)) return [lon, lat]
  // The published inverse is off by up to 0.5 m: it is only the first guess here.
  let guess: LonLat = [lon - 0.0065, lat - 0.006]
  for (let round = 0; round < 30; round += 1) {
    const [backLon, backLat] = gcj02ToBd09(guess)
    const errorLon = lon - backLon
    const errorLat = lat - backLat
    guess = [guess[0] + errorLon, guess[1] + errorLat]
    if (Math.abs(errorLon) + Math.abs(errorLat) < 1e-11) break
  }
  return guess
}

/** A place of the API (WGS-84) in the datum that a base map is drawn in. */
export function fromWgs84(place: LonLat, datum: DatumName): LonLat {
  if (datum === 'wgs84') return place
  const gcj = wgs84ToGcj02(place)
  return datum === 'gcj02' ? gcj : gcj02ToBd09(gcj)
}

/** A place read from a base map (a click, a drawn vertex) in the datum of the API (WGS-84). */
export function toWgs84(place: LonLat, datum: DatumName): LonLat {
  if (datum === 'wgs84') return place
  return gcj02ToWgs84(datum === 'gcj02' ? place : bd09ToGcj02(place))
}

/** A geometry with every position passed through `convert`; altitudes and further numbers are kept. */
export function convertGeometry<G extends GeoJSON.Geometry>(geometry: G, convert: (place: LonLat) => LonLat): G {
  const walk = (value: unknown): unknown => {
    if (!Array.isArray(value)) return value
    if (typeof value[0] === 'number') {
      const [lon, lat, ...rest] = value as number[]
      return [...convert([lon as number, lat as number]), ...rest]
    }
    return value.map(walk)
  }
  if (geometry.type === 'GeometryCollection') {
    return { ...geometry, geometries: geometry.geometries.map((part) => convertGeometry(part, convert)) }
  }
  return { ...geometry, coordinates: walk(geometry.coordinates) } as G
}
