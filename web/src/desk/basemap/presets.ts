/** Base maps that a key or a file away are ready to use. 天地图, the national platform, stands first. */
import type { BasemapKind, DatumName, Locale } from '@/shared/types'

/** A base map as it is edited; the server gives the id. */
export interface BasemapDraft {
  kind: BasemapKind
  url: string
  /** Both languages are asked for. */
  name: Record<Locale, string>
  datum: DatumName
  approval_number: string
  attribution: string
}

export interface Preset {
  key: string
  /** Whether the provider gives out a key that belongs into the URL. */
  keyed: boolean
  draft: (key: string) => BasemapDraft
}

function tianditu(layer: 'vec' | 'img', key: string): string {
  return (
    `https://t{0-7}.tianditu.gov.cn/${layer}_w/wmts?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=${layer}` +
    `&STYLE=default&TILEMATRIXSET=w&FORMAT=tiles&TILEMATRIX={z}&TILEROW={y}&TILECOL={x}&tk=${encodeURIComponent(key)}`
  )
}

export const PRESETS: Preset[] = [
  {
    key: 'tianditu_vec',
    keyed: true,
    draft: (key) => ({
      kind: 'raster',
      url: tianditu('vec', key),
      name: { 'zh-CN': '天地图', en: 'Tianditu' },
      datum: 'wgs84',
      approval_number: '',
      attribution: '© 天地图 国家地理信息公共服务平台',
    }),
  },
  {
    key: 'tianditu_img',
    keyed: true,
    draft: (key) => ({
      kind: 'raster',
      url: tianditu('img', key),
      name: { 'zh-CN': '天地图影像', en: 'Tianditu imagery' },
      datum: 'wgs84',
      approval_number: '',
      attribution: '© 天地图 国家地理信息公共服务平台',
    }),
  },
  {
    key: 'geovis',
    keyed: true,
    draft: (key) => ({
      kind: 'raster',
      url: `https://tiles{1-3}.geovisearth.com/base/v1/vec/{z}/{x}/{y}?format=png&tmsIds=w&token=${encodeURIComponent(key)}`,
      name: { 'zh-CN': '星图地球', en: 'GeoVis Earth' },
      datum: 'wgs84',
      approval_number: '',
      attribution: '© 中科星图',
    }),
  },
  {
    key: 'gcj02',
    keyed: false,
    draft: () => ({
      kind: 'raster',
      url: 'https://',
      name: { 'zh-CN': '在线地图', en: 'Online map' },
      datum: 'gcj02',
      approval_number: '',
      attribution: '',
    }),
  },
  {
    key: 'maptiler',
    keyed: true,
    draft: (key) => ({
      kind: 'style',
      url: `https://api.maptiler.com/maps/streets-v2/style.json?key=${encodeURIComponent(key)}`,
      name: { 'zh-CN': 'MapTiler 街道', en: 'MapTiler Streets' },
      datum: 'wgs84',
      approval_number: '',
      attribution: '© MapTiler © OpenStreetMap contributors',
    }),
  },
  {
    key: 'pmtiles',
    keyed: false,
    draft: () => ({
      kind: 'pmtiles',
      url: '/basemaps/town.pmtiles',
      name: { 'zh-CN': '本地底图', en: 'Local base map' },
      datum: 'wgs84',
      approval_number: '',
      attribution: '',
    }),
  },
  {
    key: 'custom',
    keyed: false,
    draft: () => ({
      kind: 'raster',
      url: 'https://',
      name: { 'zh-CN': '', en: '' },
      datum: 'wgs84',
      approval_number: '',
      attribution: '',
    }),
  },
]

export type DraftFault = 'needed' | 'invalidUrl' | 'approvalNeeded'

/** What keeps a draft from being saved, or null. The server checks the same again. */
export function faultOf(draft: BasemapDraft): DraftFault | null {
  const { url, kind, name } = draft
  if (!name['zh-CN'].trim() || !name.en.trim() || !url.trim() || url.trim() === 'https://') return 'needed'
  if (!/^(https?:\/\/|\/|pmtiles:\/\/)[^\s<>"]+$/.test(url.trim())) return 'invalidUrl'
  if (kind === 'raster' && !['{z}', '{x}', '{y}'].every((part) => url.includes(part))) return 'invalidUrl'
  // A map in a Chinese datum is a map for the mainland, where its approval number has to be shown.
  if (draft.datum !== 'wgs84' && !draft.approval_number.trim()) return 'approvalNeeded'
  return null
}
