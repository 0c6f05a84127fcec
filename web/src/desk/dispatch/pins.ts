/**
 * Tasks and alarms over the map, above the marks of officers.
 *
 * There are dozens of them where there are a thousand officers, so each is an element: it takes the pointer, can be
 * dragged, and is drawn by the same component as in the queue. The keyboard reaches them in the queue.
 */
import { Marker, type Map as MapLibreMap, type MapMouseEvent } from 'maplibre-gl'
import { h, render } from 'vue'
import type { LonLat } from '@/shared/types'
import type { DeskAlarm, DeskTask } from '../types'
import type { MarkerLayer } from '../map/markers'
import PinMark from './PinMark.vue'

export interface PinLook {
  /** `task/ID`, `alarm/ID`, or `new`. */
  key: string
  place: LonLat
  title: string
  label: string
  task?: DeskTask['state'] | 'new'
  alarm?: DeskAlarm['kind']
  alarmState?: DeskAlarm['state']
  priority?: DeskTask['priority']
  overdue?: boolean
  burns?: boolean
  /** Named only when it is pointed at: the officer below it is named already. */
  quiet?: boolean
}

interface Pin {
  marker: Marker
  element: HTMLButtonElement
  look: PinLook
  drawn: string
}

export interface PinLayerOptions {
  toMap: (place: LonLat) => LonLat
  officers: MarkerLayer
}

const DRAG_FROM_PX = 7
const REACH_PX = 26
const LABELS_FROM = 13.6

export class PinLayer {
  private readonly pins = new Map<string, Pin>()
  private selected: string | null = null
  private ghost: HTMLElement | null = null
  onPick: ((key: string) => void) | null = null
  onHover: ((key: string | null) => void) | null = null
  /** A symbol was dropped on an officer, or an officer on a symbol. */
  onJoin: ((key: string, officerId: string) => void) | null = null

  constructor(
    private readonly map: MapLibreMap,
    private readonly options: PinLayerOptions,
  ) {
    map.on('zoom', this.zoomed)
    map.on('mousedown', this.fromOfficer)
    this.zoomed()
  }

  remove(): void {
    this.map.off('zoom', this.zoomed)
    this.map.off('mousedown', this.fromOfficer)
    this.ghost?.remove()
    for (const key of [...this.pins.keys()]) this.drop(key)
  }

  private readonly zoomed = (): void => {
    this.map.getContainer().classList.toggle('pins-named', this.map.getZoom() >= LABELS_FROM)
  }

  /** These, and no others. */
  show(looks: readonly PinLook[]): void {
    const keys = new Set(looks.map((look) => look.key))
    for (const key of [...this.pins.keys()]) if (!keys.has(key)) this.drop(key)
    for (const look of looks) this.put(look)
  }

  private put(look: PinLook): void {
    const drawn = JSON.stringify({ ...look, place: null })
    let pin = this.pins.get(look.key)
    if (!pin) {
      const element = document.createElement('button')
      element.type = 'button'
      element.tabIndex = -1
      element.className = 'pin'
      element.dataset.pin = look.key
      // Alone on its ground a drop points at the place with its tip; a triangle stands on it.
      const marker = new Marker({ element, anchor: 'bottom' }).setLngLat(this.options.toMap(look.place)).addTo(this.map)
      pin = { marker, element, look, drawn: '' }
      this.pins.set(look.key, pin)
      element.addEventListener('pointerdown', (event) => this.fromPin(event, look.key))
      // The map must not take the press for one on itself.
      for (const kind of ['mousedown', 'touchstart', 'click', 'dblclick'] as const) {
        element.addEventListener(kind, (event) => event.stopPropagation())
      }
      element.addEventListener('mouseenter', () => this.onHover?.(look.key))
      element.addEventListener('mouseleave', () => this.onHover?.(null))
    } else if (pin.look.place[0] !== look.place[0] || pin.look.place[1] !== look.place[1]) {
      pin.marker.setLngLat(this.options.toMap(look.place))
    }
    pin.look = look
    if (pin.drawn === drawn) return
    pin.drawn = drawn
    const { element } = pin
    element.title = look.title
    element.setAttribute('aria-label', look.title)
    element.classList.toggle('burns', look.burns ?? false)
    element.classList.toggle('quiet', look.quiet ?? false)
    const { task, alarm, alarmState, priority, overdue } = look
    render(
      h('span', { class: 'pin-inside' }, [
        h(PinMark, { task, alarm, alarmState, priority, overdue }),
        h('span', { class: 'pin-label' }, look.label),
      ]),
      element,
    )
  }

  private drop(key: string): void {
    const pin = this.pins.get(key)
    if (!pin) return
    render(null, pin.element)
    pin.marker.remove()
    this.pins.delete(key)
  }

  /** The map is shown in another datum. */
  reproject(): void {
    for (const pin of this.pins.values()) pin.marker.setLngLat(this.options.toMap(pin.look.place))
  }

  setSelected(key: string | null): void {
    this.selected = key
    for (const [one, pin] of this.pins) pin.element.classList.toggle('selected', one === this.selected)
  }

  setHovered(key: string | null): void {
    for (const [one, pin] of this.pins) pin.element.classList.toggle('hovered', one === key)
  }

  setStale(stale: boolean): void {
    this.map.getContainer().classList.toggle('pins-stale', stale)
  }

  /** For tests: pixels of a symbol's place. */
  pixelOf(key: string): { x: number; y: number } | null {
    const pin = this.pins.get(key)
    return pin ? this.map.project(pin.marker.getLngLat()) : null
  }

  private at(event: PointerEvent | MouseEvent): { x: number; y: number } {
    const box = this.map.getContainer().getBoundingClientRect()
    return { x: event.clientX - box.left, y: event.clientY - box.top }
  }

  private officerAt(point: { x: number; y: number }): string | null {
    const pick = this.options.officers.hit(point.x, point.y, REACH_PX)
    return pick?.kind === 'officer' ? pick.id : null
  }

  private pinAt(point: { x: number; y: number }): string | null {
    let best: { key: string; distance: number } | null = null
    for (const [key, pin] of this.pins) {
      const place = this.map.project(pin.marker.getLngLat())
      // The middle of the symbol is above its place.
      const distance = Math.hypot(place.x - point.x, place.y - 16 - point.y)
      if (distance < REACH_PX && (!best || distance < best.distance)) best = { key, distance }
    }
    return best?.key ?? null
  }

  /** A press on a symbol: let go at once it is a click, moved it is dragged onto an officer. */
  private fromPin(event: PointerEvent, key: string): void {
    if (event.button !== 0) return
    event.stopPropagation()
    const pin = this.pins.get(key)
    if (!pin) return
    pin.element.setPointerCapture(event.pointerId)
    this.drag(event, pin.element, {
      move: (point) => this.options.officers.setHovered(this.officerAt(point)),
      end: (point, dragged) => {
        this.options.officers.setHovered(null)
        if (!dragged) this.onPick?.(key)
        else {
          const officer = this.officerAt(point)
          if (officer) this.onJoin?.(key, officer)
        }
      },
    })
  }

  /** A press on an officer: moved, he is dragged onto a symbol. The map stays where it is meanwhile. */
  private readonly fromOfficer = (event: MapMouseEvent): void => {
    const press = event.originalEvent
    if (press.button !== 0 || this.pins.size === 0) return
    const pick = this.options.officers.hit(event.point.x, event.point.y, 16)
    if (pick?.kind !== 'officer') return
    event.preventDefault()
    this.drag(press, window, {
      move: (point) => this.setHovered(this.pinAt(point)),
      end: (point, dragged) => {
        this.setHovered(null)
        const key = dragged ? this.pinAt(point) : null
        if (key) this.onJoin?.(key, pick.id)
      },
    })
  }

  private drag(
    from: MouseEvent,
    on: HTMLElement | Window,
    act: { move: (point: { x: number; y: number }) => void; end: (point: { x: number; y: number }, dragged: boolean) => void },
  ): void {
    let dragged = false
    const pointer = from instanceof PointerEvent && from.type.startsWith('pointer')
    const [moves, ends] = pointer ? ['pointermove', 'pointerup'] : ['mousemove', 'mouseup']
    const move = (event: Event) => {
      const now = event as MouseEvent
      if (!dragged && Math.hypot(now.clientX - from.clientX, now.clientY - from.clientY) < DRAG_FROM_PX) return
      dragged = true
      const point = this.at(now)
      if (!this.ghost) {
        this.ghost = document.createElement('i')
        this.ghost.className = 'pin-ghost'
        this.map.getContainer().append(this.ghost)
      }
      const start = this.at(from)
      const length = Math.hypot(point.x - start.x, point.y - start.y)
      const turn = Math.atan2(point.y - start.y, point.x - start.x)
      Object.assign(this.ghost.style, {
        left: `${start.x}px`,
        top: `${start.y}px`,
        width: `${length}px`,
        transform: `rotate(${turn}rad)`,
      })
      act.move(point)
    }
    const stop = (event: Event) => {
      on.removeEventListener(moves!, move)
      on.removeEventListener(ends!, stop)
      on.removeEventListener('pointercancel', stop)
      this.ghost?.remove()
      this.ghost = null
      act.end(this.at(event as MouseEvent), dragged && event.type !== 'pointercancel')
    }
    on.addEventListener(moves!, move)
    on.addEventListener(ends!, stop)
    on.addEventListener('pointercancel', stop)
  }
}
