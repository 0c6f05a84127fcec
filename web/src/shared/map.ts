/**
 * One map of the town for all clients.
 *
 * A base map is an operator's choice and has a datum; the API speaks WGS-84. Whoever draws on the map passes places
 * through `toMap` and whoever reads a click passes it through `toWgs`. Without a base map the town's own areas and
 * roads (PostGIS vector tiles) make the picture, and nothing leaves the installation. Labels are drawn with the fonts
 * of the device: the style names no glyph server, so Chinese text needs no download.
 */
import * as maplibregl from 'maplibre-gl'
import 'maplibre-gl/dist/maplibre-gl.css'
import { PMTiles, Protocol, TileType } from 'pmtiles'
import { ref, type Ref } from 'vue'
import { fromWgs84, toWgs84 } from './datum'
import { named } from './i18n'
import { shiftedTile } from './shifted-tiles'
import { mapWorkerFailed } from './map-worker'
import { namesOver, tileUrls } from './tile-urls'
import type { Session } from './session'
import type { Basemap, DatumName, Installation, Locale, LonLat } from './types'

const pmtiles = new Protocol()
maplibregl.addProtocol('pmtiles', pmtiles.tile)

/** Fonts of the device, in order of preference; there is no glyph server. */
export const MAP_FONTS = ['Noto Sans CJK SC', 'Noto Sans SC', 'PingFang SC', 'HarmonyOS Sans SC', 'Microsoft YaHei', 'sans-serif']

export const MAP_LAYERS = {
  background: 'background',
  areaFill: 'town-area-fill',
  areaLine: 'town-area-line',
  water: 'town-water',
  roadCasing: 'town-road-casing',
  road: 'town-road',
  roadLabel: 'town-road-label',
} as const
/** Markers and lines of a client go above this layer, labels of the town stay legible below them. */
export const TOP_TOWN_LAYER = MAP_LAYERS.roadLabel

export interface MapTheme {
  dark: boolean
  background: string
  areaFill: string
  compoundFill: string
  areaLine: string
  road: string
  roadCasing: string
  water: string
  green: string
  building: string
  label: string
  labelHalo: string
}
export const LIGHT: MapTheme = {
  dark: false,
  background: '#eef1ec',
  areaFill: '#e4ebe3',
  compoundFill: '#dde6ea',
  areaLine: '#9fb3a6',
  road: '#ffffff',
  roadCasing: '#cfd6d0',
  water: '#bcd9e8',
  green: '#d3e6cf',
  building: '#dcdcd6',
  label: '#42514a',
  labelHalo: '#ffffff',
}
export const DARK: MapTheme = {
  dark: true,
  background: '#0e1a22',
  areaFill: '#13242e',
  compoundFill: '#182f3b',
  areaLine: '#2f5364',
  road: '#2b4453',
  roadCasing: '#0b151b',
  water: '#0c2c44',
  green: '#12302a',
  building: '#1a2c36',
  label: '#b9cdd6',
  labelHalo: '#0e1a22',
}

export interface TownMapOptions {
  container: HTMLElement
  installation: Installation
  session: Session
  locale: Locale
  /** None, or one of `installation.basemaps`. */
  basemap?: Basemap | null
  theme?: MapTheme
  /** Where the layers `areas` and `roads` are served, or null to draw neither. */
  tilesUrl?: string | null
  /** WGS-84. */
  center?: LonLat
  zoom?: number
  /** Compact controls for a phone held in one hand. */
  phone?: boolean
}

export interface TownMap {
  readonly map: maplibregl.Map
  readonly basemap: Readonly<Ref<Basemap | null>>
  readonly datum: Readonly<Ref<DatumName>>
  /** A sentence-worthy state: the base map could not be loaded and the town's own drawing stands in. */
  readonly basemapFailed: Readonly<Ref<boolean>>
  /** Nothing can be drawn at present; it is being tried again. */
  readonly workerFailed: Readonly<Ref<boolean>>
  /** WGS-84 to the datum of the map that is shown. */
  toMap(place: LonLat): LonLat
  /** A place on the map (a click) to WGS-84. */
  toWgs(place: LonLat | maplibregl.LngLat): LonLat
  /** Style loaded for the first time. */
  readonly ready: Promise<void>
  /** Runs now if the style is there, and again after each change of base map: layers of clients are put back there. */
  onStyle(listener: (map: maplibregl.Map) => void): void
  setBasemap(basemap: Basemap | null): Promise<void>
  setLocale(locale: Locale): void
  setTheme(theme: MapTheme): Promise<void>
  fitBounds(bounds: [number, number, number, number], options?: maplibregl.FitBoundsOptions): void
  /** The address of further tiles of ours (a path, with a query if there is one) for a vector source in the map's datum. */
  tilesAt(path: string): string
  remove(): void
}

/** The middle of the country, for an installation without a town. */
const NOWHERE: LonLat = [104, 35]

let registered = 0

export function createTownMap(options: TownMapOptions): TownMap {
  const { installation, session } = options
  const tilesUrl = options.tilesUrl === undefined ? '/api/v1/desk/tiles' : options.tilesUrl
  const basemap = ref<Basemap | null>(options.basemap ?? null)
  const datum = ref<DatumName>(datumOf(basemap.value))
  const basemapFailed = ref(false)
  const listeners: ((map: maplibregl.Map) => void)[] = []
  let theme = options.theme ?? LIGHT
  let locale = options.locale
  let styled = false
  let removed = false

  const toMap = (place: LonLat) => fromWgs84(place, datum.value)
  const toWgs = (place: LonLat | maplibregl.LngLat) =>
    toWgs84(Array.isArray(place) ? place : [place.lng, place.lat], datum.value)

  // Tiles of the town for a map in another datum are cut again out of the WGS-84 ones.
  registered += 1
  const shiftProtocol = `shifted${registered}`
  maplibregl.addProtocol(shiftProtocol, async (parameters, abort) => {
    const [path, z, x, y] = parameters.url.replace(/^\w+:\/\//, '').split('/')
    const token = await session.accessToken()
    const tile = await shiftedTile({
      z: Number(z),
      x: Number(x),
      y: Number(y),
      convert: (place) => fromWgs84(place, datum.value),
      invert: (place) => toWgs84(place, datum.value),
      fetchTile: async (tz, tx, ty) => {
        const answer = await fetch(tileOf(decodeURIComponent(path!), `${tz}/${tx}/${ty}`), {
          headers: { Authorization: `Bearer ${token}` },
          signal: abort.signal,
        })
        if (answer.status === 204 || answer.status === 404) return null
        if (!answer.ok) throw new Error(`tile ${answer.status}`)
        return new Uint8Array(await answer.arrayBuffer())
      },
    })
    return { data: tile }
  })

  const known = options.center ?? installation.town?.center
  const center = toMap(known ?? NOWHERE)
  const map = new maplibregl.Map({
    container: options.container,
    style: townStyle(),
    center,
    zoom: options.zoom ?? (known ? 13 : 3),
    minZoom: 3,
    maxZoom: 20,
    attributionControl: false,
    dragRotate: false,
    pitchWithRotate: false,
    touchPitch: false,
    localIdeographFontFamily: MAP_FONTS.map((font) => (font.includes(' ') ? `"${font}"` : font)).join(', '),
    locale: UI[locale],
    transformRequest: async (url) => {
      const absolute = new URL(url, globalThis.location.href)
      const ours = absolute.origin === globalThis.location.origin && absolute.pathname.startsWith('/api/')
      if (!ours) return { url }
      try {
        return { url, headers: { Authorization: `Bearer ${await session.accessToken()}` } }
      } catch {
        return { url }
      }
    },
  })
  map.touchZoomRotate.disableRotation()
  map.keyboard.disableRotation()
  let attribution: maplibregl.AttributionControl | null = null
  showAttribution()
  map.addControl(new maplibregl.ScaleControl({ unit: 'metric', maxWidth: 90 }), 'bottom-left')
  if (!options.phone) {
    map.addControl(new maplibregl.NavigationControl({ showCompass: false }), 'bottom-right')
  }
  // One tile that fails is drawn as nothing; only a base map of which no tile has come is worth a word.
  let baseSeen = false
  map.on('error', (event) => {
    const source = (event as { sourceId?: string }).sourceId
    if (source === 'base' && !baseSeen) basemapFailed.value = true
  })
  map.on('sourcedata', (event) => {
    if (event.sourceId !== 'base' || (event.tile as { state?: string } | undefined)?.state !== 'loaded') return
    baseSeen = true
    basemapFailed.value = false
  })
  map.on('style.load', () => {
    styled = true
    for (const listener of listeners) listener(map)
  })
  const ready = new Promise<void>((resolve) => void map.once('load', () => resolve()))
  if (basemap.value) void setBasemap(basemap.value)

  function showAttribution(): void {
    if (attribution) map.removeControl(attribution)
    const chosen = basemap.value
    const parts = [chosen?.attribution, chosen?.approval_number].filter(Boolean) as string[]
    attribution = new maplibregl.AttributionControl({
      compact: Boolean(options.phone),
      customAttribution: parts.map(escape),
    })
    map.addControl(attribution, 'bottom-right')
  }

  function townLayers(): maplibregl.LayerSpecification[] {
    if (!tilesUrl) return []
    return [...areaLayers(theme, basemap.value !== null, datum.value !== 'wgs84'), ...roadLayers(theme, basemap.value !== null, locale)]
  }

  function townSources(): Record<string, maplibregl.SourceSpecification> {
    if (!tilesUrl) return {}
    const limits = installation.town?.bounds
    const margin = 0.01
    const [w, s] = toMap(limits ? [limits[0], limits[1]] : [-180, -85])
    const [e, n] = toMap(limits ? [limits[2], limits[3]] : [180, 85])
    const bounds: [number, number, number, number] = [
      Math.max(-180, w - margin), Math.max(-85, s - margin), Math.min(180, e + margin), Math.min(85, n + margin),
    ]
    return {
      'town-areas': { type: 'vector', tiles: [tilesAt(`${tilesUrl}/areas`)], minzoom: 8, maxzoom: 15, bounds },
      'town-roads': { type: 'vector', tiles: [tilesAt(`${tilesUrl}/roads`)], minzoom: 10, maxzoom: 15, bounds },
    }
  }

  function tilesAt(path: string): string {
    if (datum.value !== 'wgs84') return `${shiftProtocol}://${encodeURIComponent(path)}/{z}/{x}/{y}`
    return globalThis.location.origin + tileOf(path, '{z}/{x}/{y}')
  }

  function townStyle(): maplibregl.StyleSpecification {
    return {
      version: 8,
      sources: townSources(),
      layers: [
        { id: MAP_LAYERS.background, type: 'background', paint: { 'background-color': theme.background } },
        ...townLayers(),
      ],
    }
  }

  async function styleFor(chosen: Basemap | null): Promise<maplibregl.StyleSpecification> {
    const own = townStyle()
    if (!chosen || chosen.kind === 'none' || !chosen.url) return own
    const background = own.layers[0] as maplibregl.LayerSpecification
    if (chosen.kind === 'raster') {
      const raster = (url: string): maplibregl.SourceSpecification => ({
        type: 'raster',
        tiles: tileUrls(url),
        tileSize: 256,
        maxzoom: 18,
      })
      const names = namesOver(chosen.url)
      return {
        ...own,
        sources: { base: raster(chosen.url), ...(names ? { 'base-names': raster(names) } : {}), ...own.sources },
        layers: [
          background,
          { id: 'base', type: 'raster', source: 'base', paint: rasterPaint(theme) },
          ...own.layers.slice(1),
          ...(names ? [{ id: 'base-names', type: 'raster', source: 'base-names' } as const] : []),
        ],
      }
    }
    if (chosen.kind === 'pmtiles') {
      const archive = new PMTiles(new URL(chosen.url, globalThis.location.href).href)
      pmtiles.add(archive)
      const header = await archive.getHeader()
      const url = `pmtiles://${archive.source.getKey()}`
      if (header.tileType !== TileType.Mvt) {
        return {
          ...own,
          sources: { base: { type: 'raster', url, tileSize: 256 }, ...own.sources },
          layers: [background, { id: 'base', type: 'raster', source: 'base', paint: rasterPaint(theme) }, ...own.layers.slice(1)],
        }
      }
      const metadata = (await archive.getMetadata()) as { vector_layers?: { id: string }[] }
      const ids = new Set((metadata.vector_layers ?? []).map((layer) => layer.id))
      return {
        ...own,
        sources: { base: { type: 'vector', url }, ...own.sources },
        layers: [background, ...vectorBase(ids, theme, locale), ...own.layers.slice(1)],
      }
    }
    const answer = await fetch(chosen.url)
    if (!answer.ok) throw new Error(`style ${answer.status}`)
    const foreign = (await answer.json()) as maplibregl.StyleSpecification
    return {
      ...foreign,
      sources: { ...foreign.sources, ...own.sources },
      layers: [...foreign.layers, ...own.layers.slice(1)],
    }
  }

  async function applyStyle(): Promise<void> {
    basemapFailed.value = false
    baseSeen = false
    let style: maplibregl.StyleSpecification
    try {
      style = await styleFor(basemap.value)
    } catch {
      basemapFailed.value = true
      style = townStyle()
    }
    if (removed) return
    styled = false
    map.setStyle(style, { diff: false })
  }

  async function setBasemap(chosen: Basemap | null): Promise<void> {
    const centre = toWgs(map.getCenter())
    const before = datum.value
    basemap.value = chosen && chosen.kind !== 'none' ? chosen : null
    datum.value = datumOf(basemap.value)
    if (datum.value !== before) map.jumpTo({ center: toMap(centre) })
    showAttribution()
    await applyStyle()
  }

  return {
    map,
    basemap,
    datum,
    basemapFailed,
    workerFailed: mapWorkerFailed,
    toMap,
    toWgs,
    tilesAt,
    ready,
    onStyle(listener) {
      listeners.push(listener)
      if (styled) listener(map)
    },
    setBasemap,
    setLocale(chosen) {
      locale = chosen
      if (map.getLayer(MAP_LAYERS.roadLabel)) map.setLayoutProperty(MAP_LAYERS.roadLabel, 'text-field', nameOf(chosen))
    },
    async setTheme(chosen) {
      theme = chosen
      await applyStyle()
    },
    fitBounds([west, south, east, north], fit) {
      map.fitBounds([toMap([west, south]), toMap([east, north])], { padding: 40, maxZoom: 17, ...fit })
    },
    remove() {
      removed = true
      maplibregl.removeProtocol(shiftProtocol)
      map.remove()
    },
  }
}

/** The base map that an operator has listed first, unless this device has chosen another. */
export function chosenBasemap(installation: Installation, keptAt = 'xungeng.basemap'): Basemap | null {
  const kept = globalThis.localStorage?.getItem(keptAt)
  if (kept === 'none') return null
  return installation.basemaps.find((one) => one.id === kept) ?? installation.basemaps[0] ?? null
}
export function keepBasemap(chosen: Basemap | null, keptAt = 'xungeng.basemap'): void {
  globalThis.localStorage?.setItem(keptAt, chosen?.id ?? 'none')
}

function datumOf(basemap: Basemap | null): DatumName {
  return basemap && basemap.kind !== 'none' ? basemap.datum : 'wgs84'
}

function tileOf(path: string, which: string): string {
  const [base, query] = path.split('?')
  return `${base}/${which}.mvt${query ? `?${query}` : ''}`
}

function rasterPaint(theme: MapTheme): maplibregl.RasterLayerSpecification['paint'] {
  return theme.dark ? { 'raster-saturation': -0.6, 'raster-brightness-max': 0.55 } : {}
}

function nameOf(locale: Locale): maplibregl.ExpressionSpecification {
  return locale === 'en'
    ? ['coalesce', ['get', 'name_en'], ['get', 'name:en'], ['get', 'name_zh'], ['get', 'name'], '']
    : ['coalesce', ['get', 'name_zh'], ['get', 'name:zh'], ['get', 'name'], ['get', 'name_en'], '']
}

const byZoom = (...stops: [number, number][]): maplibregl.ExpressionSpecification =>
  ['interpolate', ['exponential', 1.6], ['zoom'], ...stops.flat()] as unknown as maplibregl.ExpressionSpecification

function areaLayers(theme: MapTheme, overBase: boolean, shifted: boolean): maplibregl.LayerSpecification[] {
  const source = { source: 'town-areas', 'source-layer': 'areas' }
  // Tiles cut again for another datum carry outlines as lines of their own, because their polygons have seams.
  const outline: maplibregl.FilterSpecification = shifted
    ? ['==', ['geometry-type'], 'LineString']
    : ['==', ['geometry-type'], 'Polygon']
  return [
    {
      id: MAP_LAYERS.areaFill,
      type: 'fill',
      ...source,
      filter: ['==', ['geometry-type'], 'Polygon'],
      paint: {
        'fill-color': ['match', ['get', 'kind'], 'compound', theme.compoundFill, theme.areaFill],
        'fill-opacity': overBase ? 0.12 : ['match', ['get', 'kind'], 'compound', 0.9, 'community', 0.55, 0.25],
        'fill-antialias': !shifted,
      },
    },
    {
      id: MAP_LAYERS.areaLine,
      type: 'line',
      ...source,
      filter: outline,
      layout: { 'line-join': 'round' },
      paint: {
        'line-color': theme.areaLine,
        'line-opacity': ['match', ['get', 'kind'], 'town', 0.95, 'community', 0.75, 0.5],
        'line-width': ['match', ['get', 'kind'], 'town', 2.2, 'community', 1.3, 0.7],
        'line-dasharray': ['literal', [3, 1.5]],
      },
    },
  ]
}

function roadLayers(theme: MapTheme, overBase: boolean, locale: Locale): maplibregl.LayerSpecification[] {
  if (overBase) return []
  const source = { source: 'town-roads', 'source-layer': 'roads' }
  const wide: maplibregl.ExpressionSpecification = [
    'match',
    ['get', 'kind'],
    'arterial',
    2,
    'street',
    1.3,
    'lane',
    0.8,
    'path',
    0.5,
    1,
  ]
  const width = (extra: number): maplibregl.ExpressionSpecification => [
    'interpolate',
    ['exponential', 1.6],
    ['zoom'],
    11,
    ['+', extra * 0.3, ['*', 0.5, wide]],
    14,
    ['+', extra * 0.8, ['*', 2.2, wide]],
    18,
    ['+', extra * 1.6, ['*', 9, wide]],
  ]
  return [
    {
      id: MAP_LAYERS.water,
      type: 'line',
      ...source,
      filter: ['==', ['get', 'kind'], 'water'],
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: { 'line-color': theme.water, 'line-width': byZoom([11, 1.5], [14, 6], [18, 60]) },
    },
    {
      id: MAP_LAYERS.roadCasing,
      type: 'line',
      ...source,
      filter: ['!=', ['get', 'kind'], 'water'],
      minzoom: 12,
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: { 'line-color': theme.roadCasing, 'line-width': width(1.4) },
    },
    {
      id: MAP_LAYERS.road,
      type: 'line',
      ...source,
      filter: ['!=', ['get', 'kind'], 'water'],
      layout: { 'line-cap': 'round', 'line-join': 'round' },
      paint: { 'line-color': theme.road, 'line-width': width(0) },
    },
    {
      id: MAP_LAYERS.roadLabel,
      type: 'symbol',
      ...source,
      minzoom: 14,
      layout: {
        'symbol-placement': 'line',
        'symbol-spacing': 320,
        'text-field': nameOf(locale),
        'text-font': MAP_FONTS,
        'text-size': byZoom([14, 11], [18, 14]),
        'text-max-angle': 30,
      },
      paint: { 'text-color': theme.label, 'text-halo-color': theme.labelHalo, 'text-halo-width': 1.4 },
    },
  ]
}

/** A plain drawing of a vector PMTiles file of one of the two common schemas (Protomaps, OpenMapTiles). */
function vectorBase(ids: Set<string>, theme: MapTheme, locale: Locale): maplibregl.LayerSpecification[] {
  const layers: maplibregl.LayerSpecification[] = []
  const first = (...names: string[]) => names.find((name) => ids.has(name))
  const fill = (id: string, sourceLayer: string | undefined, color: string, filter?: maplibregl.FilterSpecification) => {
    if (!sourceLayer) return
    layers.push({
      id: `base-${id}`,
      type: 'fill',
      source: 'base',
      'source-layer': sourceLayer,
      ...(filter ? { filter } : {}),
      paint: { 'fill-color': color },
    })
  }
  fill('earth', first('earth'), theme.background)
  const green: maplibregl.FilterSpecification = [
    'match',
    ['coalesce', ['get', 'kind'], ['get', 'class'], ''],
    ['park', 'forest', 'wood', 'grass', 'nature_reserve', 'garden', 'farmland'],
    true,
    false,
  ]
  fill('green', first('landuse', 'landcover'), theme.green, green)
  fill('park', first('park'), theme.green)
  fill('water', first('water'), theme.water)
  fill('building', first('buildings', 'building'), theme.building)
  const roads = first('roads', 'transportation')
  if (roads) {
    const kind: maplibregl.ExpressionSpecification = ['coalesce', ['get', 'kind'], ['get', 'class'], '']
    const wide: maplibregl.ExpressionSpecification = [
      'match', kind, ['highway', 'motorway', 'trunk'], 2, ['major_road', 'primary', 'secondary'], 1.5, ['path', 'other'], 0.5, 0.9,
    ]
    for (const [id, color, extra] of [['casing', theme.roadCasing, 1.2], ['road', theme.road, 0]] as const) {
      layers.push({
        id: `base-${id}`,
        type: 'line',
        source: 'base',
        'source-layer': roads,
        layout: { 'line-cap': 'round', 'line-join': 'round' },
        paint: {
          'line-color': color,
          'line-width': ['interpolate', ['exponential', 1.6], ['zoom'], 9, ['+', extra * 0.2, ['*', 0.4, wide]], 14, ['+', extra, ['*', 2, wide]], 18, ['+', extra * 1.5, ['*', 9, wide]]],
        },
      })
    }
    const labelled = first('transportation_name') ?? roads
    layers.push({
      id: 'base-road-label',
      type: 'symbol',
      source: 'base',
      'source-layer': labelled,
      minzoom: 14,
      layout: { 'symbol-placement': 'line', 'text-field': nameOf(locale), 'text-font': MAP_FONTS, 'text-size': 12 },
      paint: { 'text-color': theme.label, 'text-halo-color': theme.labelHalo, 'text-halo-width': 1.4 },
    })
  }
  const places = first('places', 'place')
  if (places) {
    layers.push({
      id: 'base-place',
      type: 'symbol',
      source: 'base',
      'source-layer': places,
      layout: { 'text-field': nameOf(locale), 'text-font': MAP_FONTS, 'text-size': 13 },
      paint: { 'text-color': theme.label, 'text-halo-color': theme.labelHalo, 'text-halo-width': 1.6 },
    })
  }
  return layers
}

function escape(text: string): string {
  const holder = document.createElement('span')
  holder.textContent = text
  return holder.innerHTML
}

const UI: Record<Locale, Record<string, string>> = {
  'zh-CN': {
    'AttributionControl.ToggleAttribution': '显示或隐藏地图来源',
    'Map.Title': '地图',
    'NavigationControl.ZoomIn': '放大',
    'NavigationControl.ZoomOut': '缩小',
    'ScaleControl.Meters': '米',
    'ScaleControl.Kilometers': '公里',
  },
  en: {},
}

/** The name of a base map for a menu. */
export function basemapName(basemap: Basemap | null, none: string): string {
  return basemap ? named(basemap.name) : none
}
