import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { convert, convertGeometry, isShifted } from '@/shared/datum'
import type { DatumName, LonLat } from '@/shared/types'
import outline from '@/shared/datum-outline.json'
import vectors from './datum-vectors.json'

/** Metres between two places that are close together. */
function metres([lonA, latA]: LonLat, [lonB, latB]: LonLat): number {
  const east = (lonA - lonB) * 111_320 * Math.cos((latA * Math.PI) / 180)
  const north = (latA - latB) * 110_574
  return Math.hypot(east, north)
}

const DATUMS: DatumName[] = ['wgs84', 'gcj02', 'bd09']

describe('datum conversion', () => {
  it('agrees with the server within 0.1 m on a hundred places, in every direction', () => {
    for (const vector of vectors) {
      for (const source of DATUMS) {
        for (const target of DATUMS) {
          const got = convert(vector[source] as LonLat, source, target)
          expect(metres(got, vector[target] as LonLat), `${vector.wgs84} ${source}->${target}`).toBeLessThan(0.1)
        }
      }
      expect(isShifted(vector.wgs84 as LonLat)).toBe(vector.shifted)
    }
  })

  it('knows the same outline of the country as the server', () => {
    const python = readFileSync('../geo/outline.py', 'utf8').replace(/#.*$/gm, '')
    const ring = (name: string) => {
      const block = new RegExp(`^${name}: Final[^=]*= \\(([\\s\\S]*?)^\\)`, 'm').exec(python)![1]!
      return [...block.matchAll(/\(([\d.]+), ([\d.]+)\)/g)].map(([, lon, lat]) => [Number(lon), Number(lat)])
    }
    expect(ring('MAINLAND').length).toBeGreaterThan(100)
    expect(outline).toEqual({ mainland: ring('MAINLAND'), macau: ring('MACAU') })
  })

  it('comes back to the same place within a millimetre', () => {
    for (let lon = 80; lon < 130; lon += 3.7) {
      for (let lat = 24; lat < 45; lat += 2.3) {
        for (const datum of ['gcj02', 'bd09'] as const) {
          const back = convert(convert([lon, lat], 'wgs84', datum), datum, 'wgs84')
          if (isShifted([lon, lat])) expect(metres(back, [lon, lat])).toBeLessThan(0.001)
        }
      }
    }
  })

  it('shifts Shanghai by hundreds of metres and leaves Hong Kong and Paris alone', () => {
    expect(metres(convert([121.4737, 31.2304], 'wgs84', 'gcj02'), [121.4737, 31.2304])).toBeGreaterThan(300)
    for (const place of [[114.1694, 22.3193], [2.3522, 48.8566]] as LonLat[]) {
      for (const datum of DATUMS) expect(convert(place, 'wgs84', datum)).toEqual(place)
    }
  })

  it('converts every position of a geometry and keeps altitudes', () => {
    const line: GeoJSON.Geometry = { type: 'MultiLineString', coordinates: [[[121, 31, 5], [121.1, 31]], [[2, 48]]] }
    const moved = convertGeometry(line, (place) => convert(place, 'wgs84', 'gcj02')) as GeoJSON.MultiLineString
    expect(moved.coordinates[0]![0]![2]).toBe(5)
    expect(moved.coordinates[0]![0]![0]).not.toBe(121)
    expect(moved.coordinates[1]![0]).toEqual([2, 48])
  })
})
