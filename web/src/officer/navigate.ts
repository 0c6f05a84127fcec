/**
 * Links that hand a place over to the phone's map app, each in the datum that the app reads its numbers in.
 *
 * 高德 (lbs.amap.com, "URI API"): `iosamap://path`, `amapuri://route/plan/` and `androidamap://navi` with `dev=0`, which
 * says that the numbers are GCJ-02; t is 0 car, 2 foot, 3 bicycle; in a browser uri.amap.com with `coordinate=gaode`.
 * 腾讯 (lbs.qq.com, "URI API"): `qqmap://map/routeplan`, GCJ-02, latitude first, `referer` required.
 * 百度 (lbsyun.baidu.com, "URI API"): `baidumap://map/direction`, from a web page on Android `bdapp://map/direction`;
 * `coord_type` is bd09ll unless said otherwise, and is said; `src` required.
 * Apple ("Map Links"): maps.apple.com with `daddr` and `dirflg`. Google ("Google Maps Intents", "Maps URLs"):
 * `google.navigation:q=` on Android, else google.com/maps/dir. Both draw mainland China in GCJ-02.
 * geo: (RFC 5870) is WGS-84 by definition, whatever app answers it.
 */
import { fromWgs84 } from '@/shared/datum'
import type { DatumName, LonLat, Travel } from '@/shared/types'

export type MapApp = 'amap' | 'tencent' | 'baidu' | 'apple' | 'google' | 'other'
export type System = 'android' | 'ios' | 'desktop'

const DATUM: Record<MapApp, DatumName> = {
  amap: 'gcj02',
  tencent: 'gcj02',
  baidu: 'bd09',
  apple: 'gcj02',
  google: 'gcj02',
  other: 'wgs84',
}
const FROM = 'xungeng'

/** HarmonyOS phones of the older kind say Android, and open its links. */
export function systemOf(agent: string = globalThis.navigator?.userAgent ?? '', touchPoints = globalThis.navigator?.maxTouchPoints ?? 0): System {
  if (/Android|HarmonyOS|OpenHarmony/.test(agent)) return 'android'
  if (/iPhone|iPad|iPod/.test(agent) || (/Macintosh/.test(agent) && touchPoints > 1)) return 'ios'
  return 'desktop'
}

/** The apps that a system may have. Whether one is installed no browser tells. */
export function appsOf(system: System): MapApp[] {
  if (system === 'android') return ['amap', 'baidu', 'tencent', 'google', 'other']
  if (system === 'ios') return ['amap', 'baidu', 'tencent', 'apple', 'google']
  return ['amap', 'baidu', 'tencent', 'google', 'apple']
}

/** The link to a place (WGS-84) by the way that one travels. */
export function linkTo(app: MapApp, system: System, place: LonLat, name: string, travel: Travel): string {
  const [lon, lat] = fromWgs84(place, DATUM[app]).map((degrees) => degrees.toFixed(6)) as [string, string]
  const by = (foot: string, bike: string, car: string) => ({ foot, e_bike: bike, car })[travel]
  switch (app) {
    case 'amap': {
      const t = by('2', '3', '0')
      if (system === 'ios') return `iosamap://path?${query({ sourceApplication: FROM, dlat: lat, dlon: lon, dname: name, dev: '0', t })}`
      if (system === 'android' && travel === 'car') {
        return `androidamap://navi?${query({ sourceApplication: FROM, poiname: name, lat, lon, dev: '0', style: '2' })}`
      }
      if (system === 'android') {
        return `amapuri://route/plan/?${query({ sourceApplication: FROM, dlat: lat, dlon: lon, dname: name, dev: '0', t })}`
      }
      // A comma separates the parts of a place there.
      const to = `${lon},${lat},${name.replaceAll(',', ' ')}`
      return `https://uri.amap.com/navigation?${query({ to, mode: by('walk', 'ride', 'car'), coordinate: 'gaode', callnative: '1', src: FROM })}`
    }
    case 'tencent': {
      const where = { type: by('walk', 'bike', 'drive'), to: name, tocoord: `${lat},${lon}`, referer: FROM }
      return system === 'desktop'
        ? `https://apis.map.qq.com/uri/v1/routeplan?${query(where)}`
        : `qqmap://map/routeplan?${query({ ...where, fromcoord: 'CurrentLocation' })}`
    }
    case 'baidu': {
      // A bar separates the parts of a place there.
      const destination = `name:${name.replaceAll('|', ' ')}|latlng:${lat},${lon}`
      const where = { destination, coord_type: 'bd09ll', mode: by('walking', 'riding', 'driving'), src: `web.${FROM}.officer` }
      if (system === 'ios') return `baidumap://map/direction?${query(where)}`
      if (system === 'android') return `bdapp://map/direction?${query(where)}`
      return `https://api.map.baidu.com/marker?${query({ location: `${lat},${lon}`, title: name, content: name, coord_type: 'bd09ll', output: 'html', src: where.src })}`
    }
    case 'apple':
      return `https://maps.apple.com/?${query({ daddr: `${lat},${lon}`, q: name, dirflg: by('w', 'w', 'd') })}`
    case 'google':
      return system === 'android'
        ? `google.navigation:${query({ q: `${lat},${lon}`, mode: by('w', 'b', 'd') })}`
        : `https://www.google.com/maps/dir/?${query({ api: '1', destination: `${lat},${lon}`, travelmode: by('walking', 'bicycling', 'driving') })}`
    case 'other':
      return `geo:${lat},${lon}?${query({ q: `${lat},${lon}(${name.replace(/[()]/g, ' ')})` })}`
  }
}

/** Blanks as %20, because several of these apps show a plus as it stands; commas as they are, as in the documented examples. */
function query(parts: Record<string, string>): string {
  return Object.entries(parts)
    .map(([key, value]) => `${key}=${encodeURIComponent(value).replaceAll('%2C', ',')}`)
    .join('&')
}

const KEPT_AT = 'xungeng.officer.map_app'
export function lastApp(system: System): MapApp | null {
  try {
    const kept = localStorage.getItem(KEPT_AT) as MapApp | null
    return kept && appsOf(system).includes(kept) ? kept : null
  } catch {
    return null
  }
}
export function keepApp(app: MapApp): void {
  try {
    localStorage.setItem(KEPT_AT, app)
  } catch {
    // Without storage it is asked for again next time.
  }
}
