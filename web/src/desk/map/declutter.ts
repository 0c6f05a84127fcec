/** What is drawn where a thousand officers would lie over each other: bubbles, and labels that do not collide. */
import type { OfficerStatus } from '@/shared/types'

export interface Dot {
  id: string
  /** Screen pixels. */
  x: number
  y: number
  status: OfficerStatus
  /** Never swallowed by a bubble: selected, followed, found. */
  apart: boolean
}

export interface Bubble {
  key: string
  x: number
  y: number
  ids: string[]
  counts: Record<OfficerStatus, number>
}

export interface Grouped {
  bubbles: Bubble[]
  /** Whoever is not in a bubble. */
  single: string[]
}

/**
 * Groups officers who would cover each other into bubbles.
 *
 * Cells lie on the map, not on the screen (`originX`, `originY` are the map's pixel origin), so a bubble does not change
 * its members while the map is dragged; it stands at the mean of its members, so it drifts instead of jumping. A
 * second pass joins bubbles that touch across a cell's edge.
 */
export function group(dots: readonly Dot[], cellPx: number, least: number, originX: number, originY: number): Grouped {
  const cells = new Map<string, Dot[]>()
  const single: string[] = []
  for (const dot of dots) {
    if (dot.apart || cellPx <= 0) {
      single.push(dot.id)
      continue
    }
    const key = `${Math.floor((dot.x + originX) / cellPx)}:${Math.floor((dot.y + originY) / cellPx)}`
    const cell = cells.get(key)
    if (cell) cell.push(dot)
    else cells.set(key, [dot])
  }
  const bubbles: Bubble[] = []
  for (const [key, members] of cells) {
    if (members.length < least) {
      for (const dot of members) single.push(dot.id)
      continue
    }
    const counts: Record<OfficerStatus, number> = { moving: 0, still: 0, silent: 0, unlocated: 0 }
    let x = 0
    let y = 0
    for (const dot of members) {
      x += dot.x
      y += dot.y
      counts[dot.status] += 1
    }
    bubbles.push({ key, x: x / members.length, y: y / members.length, ids: members.map((dot) => dot.id), counts })
  }
  return { bubbles: join(bubbles, cellPx * 0.8), single }
}

function join(bubbles: Bubble[], nearPx: number): Bubble[] {
  bubbles.sort((a, b) => b.ids.length - a.ids.length || (a.key < b.key ? -1 : 1))
  const kept: Bubble[] = []
  for (const bubble of bubbles) {
    const host = kept.find((other) => Math.hypot(other.x - bubble.x, other.y - bubble.y) < nearPx)
    if (!host) {
      kept.push(bubble)
      continue
    }
    const whole = host.ids.length + bubble.ids.length
    host.x = (host.x * host.ids.length + bubble.x * bubble.ids.length) / whole
    host.y = (host.y * host.ids.length + bubble.y * bubble.ids.length) / whole
    host.ids.push(...bubble.ids)
    for (const status of Object.keys(host.counts) as OfficerStatus[]) host.counts[status] += bubble.counts[status]
  }
  return kept
}

export interface Box {
  left: number
  top: number
  right: number
  bottom: number
}

/** Boxes that were placed, found again by the squares of the screen that they touch. */
export class Occupied {
  private readonly squares = new Map<number, Box[]>()
  private static readonly SIDE_PX = 64

  private *touched(box: Box): Generator<number> {
    const side = Occupied.SIDE_PX
    for (let row = Math.floor(box.top / side); row <= Math.floor(box.bottom / side); row += 1) {
      for (let column = Math.floor(box.left / side); column <= Math.floor(box.right / side); column += 1) {
        yield row * 4096 + column
      }
    }
  }

  free(box: Box): boolean {
    for (const square of this.touched(box)) {
      for (const other of this.squares.get(square) ?? []) {
        if (box.left < other.right && box.right > other.left && box.top < other.bottom && box.bottom > other.top) {
          return false
        }
      }
    }
    return true
  }

  take(box: Box): void {
    for (const square of this.touched(box)) {
      const here = this.squares.get(square)
      if (here) here.push(box)
      else this.squares.set(square, [box])
    }
  }
}

export interface LabelWish {
  id: string
  box: Box
  /** Smaller is placed first. */
  priority: number
}

/**
 * Which labels are shown. Whoever had a label keeps it when there is room for both, so names do not flicker while people
 * walk past each other.
 */
export function placeLabels(wishes: readonly LabelWish[], before: ReadonlySet<string>, markers: readonly Box[]): Set<string> {
  const occupied = new Occupied()
  for (const box of markers) occupied.take(box)
  const order = [...wishes].sort(
    (a, b) =>
      a.priority - b.priority || Number(before.has(b.id)) - Number(before.has(a.id)) || (a.id < b.id ? -1 : 1),
  )
  const placed = new Set<string>()
  for (const wish of order) {
    if (wish.priority > 0 && !occupied.free(wish.box)) continue
    occupied.take(wish.box)
    placed.add(wish.id)
  }
  return placed
}
