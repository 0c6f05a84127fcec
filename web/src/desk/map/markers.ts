/**
 * A thousand officers over the map, on a canvas of their own.
 *
 * The map itself is drawn again only when it is moved. Walking officers cost the copying of small pictures, which a desk's
 * office computer does sixty times a second, while a GeoJSON source would be cut into tiles and laid out anew for
 * every batch of fixes. North is always up on the desk's maps, so a place becomes pixels by one multiplication.
 */
import { MercatorCoordinate, type Map as MapLibreMap, type MapMouseEvent } from 'maplibre-gl'
import { at, glideTo, isDone, type Glide } from './glide'
import { group, placeLabels, type Box, type Bubble, type Dot, type LabelWish } from './declutter'
import { shapeOf, SymbolPress, type Shape, type Sprite } from './symbols'
import type { Palette } from './palette'
import type { LonLat, OfficerStatus } from '@/shared/types'
import { metresBetween } from '../live/status'

export interface MarkerLook {
  status: OfficerStatus
  label: string
  /** One character inside the mark, e.g. of the officer's kind. */
  mark: string
  headingDeg: number | null
  /** Instead of the status' colour. */
  colour?: string
  /** Instead of the status' shape. */
  shape?: Shape
  faded?: boolean
  accuracyM?: number | null
  /** Chosen for something: with a ring, and never hidden in a bubble. */
  marked?: boolean
}

interface Marker {
  id: string
  lon: number
  lat: number
  fixedAtS: number
  glide: Glide
  look: MarkerLook
  /** Screen pixels of the last frame. */
  x: number
  y: number
}

export type Pick =
  | { kind: 'officer'; id: string }
  | { kind: 'bubble'; ids: string[] }
  | { kind: 'nothing'; place: LonLat }

/** What is needed to draw under the marks: a Mercator coordinate times `scale`, less the corner, is a pixel. */
export interface Pen {
  context: CanvasRenderingContext2D
  scale: number
  left: number
  top: number
  zoom: number
}

export interface MarkerLayerOptions {
  toMap: (place: LonLat) => LonLat
  toWgs: (place: LonLat) => LonLat
  palette: Palette
  smooth: boolean
  clustered: boolean
  /** Below this zoom only the selected, the hovered and the silent are named. */
  labelsFrom: number
}

const EQUATOR_M = 40_075_016.686
const LABELS_EVERY_MS = 260
const GROUPS_EVERY_MS = 500
const IDLE_FRAME_MS = 33

export class MarkerLayer {
  readonly canvas = document.createElement('canvas')
  private readonly context: CanvasRenderingContext2D
  private readonly markers = new Map<string, Marker>()
  private press: SymbolPress
  private ratio: number
  private palette: Palette
  private frame = 0
  private timer: ReturnType<typeof setTimeout> | undefined
  private lastDrawMs = 0
  private labels: ReadonlySet<string> = new Set()
  private labelsMs = -Infinity
  private bubbles: Bubble[] = []
  private hidden: ReadonlySet<string> = new Set()
  private groupsMs = -Infinity
  private groupsZoom = NaN
  private selected: string | null = null
  private hovered: string | null = null
  private filter: ReadonlySet<string> | null = null
  private stale = false
  smooth: boolean
  /** Drawn under the marks, e.g. trails. */
  under: ((pen: Pen) => void) | null = null
  onPick: ((pick: Pick) => void) | null = null
  onHover: ((id: string | null) => void) | null = null
  /** After each frame; for a camera that follows. */
  onFrame: (() => void) | null = null

  constructor(
    private readonly map: MapLibreMap,
    private readonly options: MarkerLayerOptions,
  ) {
    this.palette = options.palette
    this.smooth = options.smooth
    this.ratio = Math.min(2, window.devicePixelRatio || 1)
    this.press = new SymbolPress(this.ratio)
    this.context = this.canvas.getContext('2d')!
    Object.assign(this.canvas.style, { position: 'absolute', inset: '0', pointerEvents: 'none' })
    this.canvas.setAttribute('aria-hidden', 'true')
    map.getCanvasContainer().append(this.canvas)
    this.resize()
    map.on('resize', this.resize)
    map.on('render', this.draw)
    map.on('mousemove', this.onMouseMove)
    map.on('mouseout', this.onMouseOut)
    map.on('click', this.onClick)
  }

  remove(): void {
    cancelAnimationFrame(this.frame)
    clearTimeout(this.timer)
    this.frame = 0
    this.map.off('resize', this.resize)
    this.map.off('render', this.draw)
    this.map.off('mousemove', this.onMouseMove)
    this.map.off('mouseout', this.onMouseOut)
    this.map.off('click', this.onClick)
    this.canvas.remove()
  }

  get size(): number {
    return this.markers.size
  }

  /** The map is shown in another datum: every place is projected again, without movement. */
  reproject(): void {
    for (const marker of this.markers.values()) {
      const to = this.mercator(marker.lon, marker.lat)
      marker.glide = glideTo(to, to, performance.now(), 0, 0, false)
    }
    this.ask()
  }

  setPalette(palette: Palette): void {
    this.palette = palette
    this.ask()
  }

  setSelected(id: string | null): void {
    this.selected = id
    this.groupsMs = this.labelsMs = -Infinity
    this.ask()
  }

  setHovered(id: string | null): void {
    if (this.hovered === id) return
    this.hovered = id
    this.ask()
  }

  /** Only these are drawn; null is everybody. */
  setFilter(ids: ReadonlySet<string> | null): void {
    this.filter = ids
    this.groupsMs = this.labelsMs = -Infinity
    this.ask()
  }

  /** The connection is lost: what is drawn is a memory, and looks it. */
  setStale(stale: boolean): void {
    if (this.stale === stale) return
    this.stale = stale
    this.ask()
  }

  /** A fix of an officer (WGS-84); moves there from where the mark is now. */
  move(id: string, lon: number, lat: number, fixedAtS: number, look: MarkerLook): void {
    const nowMs = performance.now()
    const to = this.mercator(lon, lat)
    const known = this.markers.get(id)
    if (!known) {
      const glide = glideTo(to, to, nowMs, 0, 0, false)
      this.markers.set(id, { id, lon, lat, fixedAtS, glide, look, x: 0, y: 0 })
    } else {
      if (fixedAtS !== known.fixedAtS || lon !== known.lon || lat !== known.lat) {
        const jumpM = metresBetween(known.lon, known.lat, lon, lat)
        const smooth = this.smooth && !document.hidden
        known.glide = glideTo(at(known.glide, nowMs), to, nowMs, fixedAtS - known.fixedAtS, jumpM, smooth)
        known.lon = lon
        known.lat = lat
        known.fixedAtS = fixedAtS
      }
      known.look = look
    }
    this.ask()
  }

  /** Sets an officer somewhere without movement; for a replay, whose clock moves him. */
  place(id: string, lon: number, lat: number, look: MarkerLook): void {
    const to = this.mercator(lon, lat)
    const glide: Glide = { fromX: to.x, fromY: to.y, toX: to.x, toY: to.y, startMs: 0, durationMs: 0 }
    const known = this.markers.get(id)
    if (known) {
      known.glide = glide
      known.lon = lon
      known.lat = lat
      known.look = look
    } else {
      this.markers.set(id, { id, lon, lat, fixedAtS: 0, glide, look, x: 0, y: 0 })
    }
    this.ask()
  }

  drop(id: string): void {
    if (this.markers.delete(id)) {
      this.groupsMs = -Infinity
      this.ask()
    }
  }

  clear(): void {
    this.markers.clear()
    this.groupsMs = -Infinity
    this.ask()
  }

  ids(): IterableIterator<string> {
    return this.markers.keys()
  }

  /** Where the mark is at this moment (coordinates of the map's datum), between two fixes too. */
  shownAt(id: string): LonLat | null {
    const marker = this.markers.get(id)
    if (!marker) return null
    const now = at(marker.glide, performance.now())
    const place = new MercatorCoordinate(now.x, now.y).toLngLat()
    return [place.lng, place.lat]
  }

  /** For tests: pixels of an officer's mark. */
  pixelOf(id: string): { x: number; y: number } | null {
    const marker = this.markers.get(id)
    return marker ? { x: marker.x, y: marker.y } : null
  }

  /** What this frame has put off is drawn in a later one, also when nothing else moves by then. */
  private later(afterMs: number): void {
    if (this.timer !== undefined) return
    this.timer = setTimeout(() => {
      this.timer = undefined
      this.ask()
    }, afterMs)
  }

  /** Draw soon. */
  ask = (): void => {
    if (this.frame === 0) this.frame = requestAnimationFrame(this.tick)
  }

  private readonly tick = (nowMs: number): void => {
    this.frame = 0
    // The eye needs no more than thirty frames of people walking; dragging the map draws at the screen's own rate.
    if (nowMs - this.lastDrawMs < IDLE_FRAME_MS - 4) {
      this.ask()
      return
    }
    this.draw()
  }

  private mercator(lon: number, lat: number): { x: number; y: number } {
    const [mapLon, mapLat] = this.options.toMap([lon, lat])
    return MercatorCoordinate.fromLngLat([mapLon, mapLat])
  }

  private readonly resize = (): void => {
    const { clientWidth, clientHeight } = this.map.getContainer()
    this.ratio = Math.min(2, window.devicePixelRatio || 1)
    this.press = new SymbolPress(this.ratio)
    this.canvas.width = Math.round(clientWidth * this.ratio)
    this.canvas.height = Math.round(clientHeight * this.ratio)
    this.canvas.style.width = `${clientWidth}px`
    this.canvas.style.height = `${clientHeight}px`
    this.groupsMs = this.labelsMs = -Infinity
    this.ask()
  }

  private camera(): { scale: number; left: number; top: number } {
    const centre = this.map.getCenter()
    const middle = MercatorCoordinate.fromLngLat(centre)
    const scale = 512 * 2 ** this.map.getZoom()
    const pixel = this.map.project(centre)
    return { scale, left: middle.x * scale - pixel.x, top: middle.y * scale - pixel.y }
  }

  private readonly draw = (): void => {
    const nowMs = performance.now()
    this.lastDrawMs = nowMs
    const { context, ratio, map } = this
    const widthPx = this.canvas.width / ratio
    const heightPx = this.canvas.height / ratio
    if (widthPx === 0 || heightPx === 0) return
    const { scale, left, top } = this.camera()
    const zoom = map.getZoom()
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.clearRect(0, 0, widthPx, heightPx)

    let moving = false
    const visible: Marker[] = []
    for (const marker of this.markers.values()) {
      if (this.filter && !this.filter.has(marker.id) && marker.id !== this.selected) continue
      const place = at(marker.glide, nowMs)
      if (!moving && !isDone(marker.glide, nowMs)) moving = true
      marker.x = place.x * scale - left
      marker.y = place.y * scale - top
      if (marker.x > -60 && marker.x < widthPx + 60 && marker.y > -60 && marker.y < heightPx + 60) visible.push(marker)
    }

    if (this.under) {
      context.save()
      this.under({ context, scale, left, top, zoom })
      context.restore()
    }

    this.regroup(visible, nowMs, zoom, left, top)
    const sizePx = zoom >= 15 ? 24 : zoom >= 13.5 ? 19 : zoom >= 12 ? 15 : 11
    const shown = visible.filter((marker) => !this.hidden.has(marker.id))
    const chosen = this.selected ? this.markers.get(this.selected) : undefined
    if (chosen && shown.includes(chosen)) this.drawChosen(chosen, sizePx, scale)
    // The ones in need of attention are drawn last, on top of the others.
    const order = (marker: Marker) =>
      marker.id === this.selected ? 3 : marker.id === this.hovered ? 2 : marker.look.status === 'silent' ? 1 : 0
    shown.sort((a, b) => order(a) - order(b))
    for (const bubble of this.bubbles) this.drawBubble(bubble)
    for (const marker of shown) this.drawMarker(marker, sizePx)
    this.drawLabels(shown, sizePx, zoom, nowMs)
    this.onFrame?.()
    if (moving) this.ask()
  }

  private regroup(visible: Marker[], nowMs: number, zoom: number, left: number, top: number): void {
    if (!this.options.clustered) {
      this.bubbles = []
      return
    }
    const bucket = Math.round(zoom * 2) / 2
    const zooming = this.groupsZoom !== bucket
    if (!zooming && nowMs - this.groupsMs < GROUPS_EVERY_MS && !this.map.isMoving()) {
      this.follow()
      this.later(GROUPS_EVERY_MS)
      return
    }
    this.groupsMs = nowMs
    this.groupsZoom = bucket
    if (zoom >= 15.5) {
      this.bubbles = []
      this.hidden = new Set()
      return
    }
    const dots: Dot[] = visible.map((marker) => ({
      id: marker.id,
      x: marker.x,
      y: marker.y,
      status: marker.look.status,
      apart: marker.id === this.selected || marker.look.marked === true,
    }))
    const cellPx = zoom >= 14 ? 22 : zoom >= 12.5 ? 30 : 40
    const { bubbles } = group(dots, cellPx, zoom >= 13 ? 4 : 3, left, top)
    this.bubbles = bubbles
    const hidden = new Set<string>()
    for (const bubble of bubbles) for (const id of bubble.ids) hidden.add(id)
    this.hidden = hidden
    this.labelsMs = -Infinity
  }

  /** Between two groupings a bubble keeps its members and stays at their mean. */
  private follow(): void {
    for (const bubble of this.bubbles) {
      let x = 0
      let y = 0
      let known = 0
      for (const id of bubble.ids) {
        const marker = this.markers.get(id)
        if (!marker) continue
        x += marker.x
        y += marker.y
        known += 1
      }
      if (known === 0) continue
      bubble.x = x / known
      bubble.y = y / known
    }
  }

  private copy(sprite: Sprite, x: number, y: number): void {
    const { widthPx, heightPx } = sprite
    this.context.drawImage(sprite.image, x - widthPx / 2, y - heightPx / 2, widthPx, heightPx)
  }

  private colourOf(look: MarkerLook): string {
    if (this.stale) return this.palette.stale
    return look.colour ?? this.palette.status[look.status]
  }

  private drawMarker(marker: Marker, basePx: number): void {
    const { look } = marker
    const raised = marker.id === this.selected || marker.id === this.hovered
    const sizePx = raised ? basePx + 4 : basePx
    const colour = this.colourOf(look)
    const shape = look.shape ?? shapeOf(look.status)
    const { context } = this
    context.globalAlpha = look.faded ? 0.55 : 1
    const { rim } = this.palette
    if (look.marked) {
      context.beginPath()
      context.arc(marker.x, marker.y, sizePx * 0.5 + 6, 0, Math.PI * 2)
      context.lineWidth = 3
      context.setLineDash([5, 3])
      context.strokeStyle = this.palette.accent
      context.stroke()
      context.setLineDash([])
    }
    if (shape === 'disc' && look.headingDeg !== null) {
      context.save()
      context.translate(marker.x, marker.y)
      context.rotate((look.headingDeg * Math.PI) / 180)
      this.copy(this.press.drop(colour, rim, sizePx), 0, 0)
      context.restore()
    } else {
      this.copy(this.press.symbol({ shape, colour, rim, sizePx }), marker.x, marker.y)
    }
    if (look.mark && sizePx >= 18 && (shape === 'disc' || shape === 'square')) {
      this.copy(this.press.mark(look.mark, sizePx), marker.x, marker.y)
    }
    context.globalAlpha = 1
  }

  private drawChosen(marker: Marker, sizePx: number, scale: number): void {
    const { context } = this
    const metresPerPixel = (EQUATOR_M * Math.cos((marker.lat * Math.PI) / 180)) / scale
    const accuracyPx = (marker.look.accuracyM ?? 0) / metresPerPixel
    const colour = this.colourOf(marker.look)
    if (accuracyPx > sizePx / 2) {
      context.beginPath()
      context.arc(marker.x, marker.y, accuracyPx, 0, Math.PI * 2)
      context.fillStyle = colour
      context.globalAlpha = 0.14
      context.fill()
      context.globalAlpha = 0.7
      context.lineWidth = 1
      context.strokeStyle = colour
      context.stroke()
      context.globalAlpha = 1
    }
    context.beginPath()
    context.arc(marker.x, marker.y, sizePx * 0.5 + 8, 0, Math.PI * 2)
    context.lineWidth = 3
    context.strokeStyle = this.palette.accent
    context.stroke()
  }

  private drawBubble(bubble: Bubble): void {
    const whole = bubble.ids.length
    const order: OfficerStatus[] = ['silent', 'moving', 'still', 'unlocated']
    const parts = order.map((status) => ({
      share: bubble.counts[status] / whole,
      colour: this.stale ? this.palette.stale : this.palette.status[status],
    }))
    this.copy(this.press.bubble(whole, parts, this.palette.bubble, this.palette.ink), bubble.x, bubble.y)
  }

  private drawLabels(shown: readonly Marker[], sizePx: number, zoom: number, nowMs: number): void {
    const offset = sizePx / 2 + 10
    if (nowMs - this.labelsMs >= LABELS_EVERY_MS) {
      this.labelsMs = nowMs
      const wishes: LabelWish[] = []
      const marks: Box[] = []
      const half = sizePx / 2 - 1
      for (const marker of shown) {
        marks.push({ left: marker.x - half, right: marker.x + half, top: marker.y - half, bottom: marker.y + half })
        const raised = marker.id === this.selected || marker.id === this.hovered
        const silent = marker.look.status === 'silent'
        if (zoom < this.options.labelsFrom && !raised && !silent) continue
        const width = marker.look.label.length * 9 + 8
        wishes.push({
          id: marker.id,
          priority: raised ? 0 : silent ? 1 : 2,
          box: {
            left: marker.x - width / 2,
            right: marker.x + width / 2,
            top: marker.y + offset - 9,
            bottom: marker.y + offset + 9,
          },
        })
      }
      for (const bubble of this.bubbles) {
        marks.push({ left: bubble.x - 17, right: bubble.x + 17, top: bubble.y - 17, bottom: bubble.y + 17 })
      }
      this.labels = placeLabels(wishes, this.labels, marks)
    } else {
      this.later(LABELS_EVERY_MS)
    }
    for (const marker of shown) {
      if (!this.labels.has(marker.id)) continue
      const strong = marker.id === this.selected || marker.id === this.hovered
      const ink = marker.look.status === 'silent' && !this.stale ? this.palette.status.silent : this.palette.ink
      const sprite = this.press.label(marker.look.label, ink, this.palette.halo, strong)
      this.context.globalAlpha = marker.look.faded ? 0.7 : 1
      this.copy(sprite, marker.x, marker.y + offset)
    }
    this.context.globalAlpha = 1
  }

  /** What is under a point of the screen. Fingers are thicker than mouse pointers. */
  hit(x: number, y: number, reachPx: number): Pick | null {
    let best: { distance: number; pick: Pick } | null = null
    for (const bubble of this.bubbles) {
      const distance = Math.hypot(bubble.x - x, bubble.y - y)
      if (distance < 20 && (!best || distance < best.distance)) {
        best = { distance, pick: { kind: 'bubble', ids: bubble.ids } }
      }
    }
    for (const marker of this.markers.values()) {
      if (this.hidden.has(marker.id)) continue
      if (this.filter && !this.filter.has(marker.id) && marker.id !== this.selected) continue
      const distance = Math.hypot(marker.x - x, marker.y - y)
      if (distance < reachPx && (!best || distance < best.distance)) {
        best = { distance, pick: { kind: 'officer', id: marker.id } }
      }
    }
    return best?.pick ?? null
  }

  private readonly onMouseMove = (event: MapMouseEvent): void => {
    const pick = this.hit(event.point.x, event.point.y, 16)
    this.map.getCanvas().style.cursor = pick ? 'pointer' : ''
    const id = pick?.kind === 'officer' ? pick.id : null
    if (id !== this.hovered) {
      this.setHovered(id)
      this.labelsMs = -Infinity
      this.onHover?.(id)
    }
  }

  private readonly onMouseOut = (): void => {
    this.setHovered(null)
    this.onHover?.(null)
  }

  private readonly onClick = (event: MapMouseEvent): void => {
    const touch = (event.originalEvent as PointerEvent).pointerType === 'touch'
    const pick = this.hit(event.point.x, event.point.y, touch ? 26 : 16)
    this.onPick?.(pick ?? { kind: 'nothing', place: this.options.toWgs([event.lngLat.lng, event.lngLat.lat]) })
  }
}
