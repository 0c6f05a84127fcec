import { readFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { appsOf, keepApp, lastApp, linkTo, systemOf, type MapApp, type System } from '@/officer/navigate'
import type { LonLat } from '@/shared/types'

type Vector = { wgs84: LonLat; gcj02: LonLat; bd09: LonLat; shifted: boolean }
/** Written by the server's own datum module. */
const VECTORS = JSON.parse(readFileSync('tests/datum-vectors.json', 'utf8')) as Vector[]
const SHANGHAI = VECTORS[0]!
const OUTSIDE = VECTORS.find(({ shifted }) => !shifted)!
const NAME = '东门, 12 号|北侧'
const encoded = (text: string) => encodeURIComponent(text).replaceAll('%2C', ',')
const SYSTEMS: System[] = ['android', 'ios', 'desktop']

/** The two numbers of a link that are the place, as [lon, lat]. */
function placeIn(app: MapApp, link: string): LonLat {
  const [, text] = link.split('?').length > 1 ? link.split(/\?(.*)/s) : link.split(/:(.*)/s)
  const parts = new URLSearchParams(text)
  const pair = (value: string | null): LonLat => {
    const [lat, lon] = value!.split(',').map(Number) as LonLat
    return [lon, lat]
  }
  if (app === 'amap') {
    const to = parts.get('to')
    if (to) return to.split(',').slice(0, 2).map(Number) as LonLat
    return [Number(parts.get('dlon') ?? parts.get('lon')), Number(parts.get('dlat') ?? parts.get('lat'))]
  }
  if (app === 'tencent') return pair(parts.get('tocoord'))
  if (app === 'baidu') return pair(parts.get('location') ?? parts.get('destination')!.split('latlng:')[1]!)
  if (app === 'apple') return pair(parts.get('daddr'))
  if (app === 'google') return pair(parts.get('destination') ?? parts.get('q'))
  return pair(link.slice('geo:'.length).split('?')[0]!)
}
const EXPECTED: Record<MapApp, keyof Omit<Vector, 'shifted'>> = {
  amap: 'gcj02', tencent: 'gcj02', baidu: 'bd09', apple: 'gcj02', google: 'gcj02', other: 'wgs84',
}

describe('the links to map apps', () => {
  it.each(SYSTEMS.flatMap((system) => appsOf(system).map((app) => [app, system] as const)))('give %s on %s the place in its own datum', (app, system) => {
    for (const vector of VECTORS) {
      for (const travel of ['foot', 'e_bike', 'car'] as const) {
        const [lon, lat] = placeIn(app, linkTo(app, system, vector.wgs84, NAME, travel))
        const [wantedLon, wantedLat] = vector.shifted ? vector[EXPECTED[app]] : vector.wgs84
        expect(lon).toBeCloseTo(wantedLon, 5)
        expect(lat).toBeCloseTo(wantedLat, 5)
      }
    }
    expect(OUTSIDE.wgs84).toEqual(OUTSIDE.gcj02)
  })

  it('carry the parameters that each app documents', () => {
    const name = encoded(NAME)
    const [lon, lat] = SHANGHAI.gcj02.map((degrees) => degrees.toFixed(6))
    const [bdLon, bdLat] = SHANGHAI.bd09.map((degrees) => degrees.toFixed(6))
    const link = (app: MapApp, system: System, travel: 'foot' | 'e_bike' | 'car') => linkTo(app, system, SHANGHAI.wgs84, NAME, travel)
    expect(link('amap', 'android', 'car')).toBe(`androidamap://navi?sourceApplication=xungeng&poiname=${name}&lat=${lat}&lon=${lon}&dev=0&style=2`)
    expect(link('amap', 'android', 'foot')).toBe(`amapuri://route/plan/?sourceApplication=xungeng&dlat=${lat}&dlon=${lon}&dname=${name}&dev=0&t=2`)
    expect(link('amap', 'ios', 'e_bike')).toBe(`iosamap://path?sourceApplication=xungeng&dlat=${lat}&dlon=${lon}&dname=${name}&dev=0&t=3`)
    expect(link('amap', 'desktop', 'car')).toBe(
      `https://uri.amap.com/navigation?to=${encoded(`${lon},${lat},东门  12 号|北侧`)}&mode=car&coordinate=gaode&callnative=1&src=xungeng`,
    )
    expect(link('tencent', 'ios', 'foot')).toBe(
      `qqmap://map/routeplan?type=walk&to=${name}&tocoord=${lat},${lon}&referer=xungeng&fromcoord=CurrentLocation`,
    )
    expect(link('baidu', 'ios', 'foot')).toBe(
      `baidumap://map/direction?destination=${encoded(`name:东门, 12 号 北侧|latlng:${bdLat},${bdLon}`)}&coord_type=bd09ll&mode=walking&src=web.xungeng.officer`,
    )
    expect(link('baidu', 'android', 'car')).toMatch(/^bdapp:\/\/map\/direction\?.*mode=driving/)
    expect(link('apple', 'ios', 'car')).toBe(`https://maps.apple.com/?daddr=${lat},${lon}&q=${name}&dirflg=d`)
    expect(link('google', 'android', 'foot')).toBe(`google.navigation:q=${lat},${lon}&mode=w`)
    expect(link('google', 'ios', 'e_bike')).toBe(`https://www.google.com/maps/dir/?api=1&destination=${lat},${lon}&travelmode=bicycling`)
    const [wLon, wLat] = SHANGHAI.wgs84.map((degrees) => degrees.toFixed(6))
    expect(link('other', 'android', 'foot')).toBe(`geo:${wLat},${wLon}?q=${encoded(`${wLat},${wLon}(${NAME})`)}`)
  })
})

describe('the chooser', () => {
  beforeEach(() => localStorage.clear())

  it('knows the system of a phone', () => {
    expect(systemOf('Mozilla/5.0 (Linux; Android 14; ELS-AN00) Chrome/130', 5)).toBe('android')
    expect(systemOf('Mozilla/5.0 (Phone; OpenHarmony 5.0) ArkWeb/4', 5)).toBe('android')
    expect(systemOf('Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)', 5)).toBe('ios')
    expect(systemOf('Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605', 5)).toBe('ios')
    expect(systemOf('Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605', 0)).toBe('desktop')
  })
  it('remembers the last app, where the system has it', () => {
    expect(lastApp('ios')).toBeNull()
    keepApp('apple')
    expect(lastApp('ios')).toBe('apple')
    expect(lastApp('android')).toBeNull()
  })
})
