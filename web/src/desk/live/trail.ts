/** The trail of the last hour: kept up to date while it is shown, and drawn with its gaps as gaps. */
import { MercatorCoordinate } from 'maplibre-gl'
import { metresBetween } from './status'
import type { Trail, TrailPoint } from '../types'
import type { Pen } from '../map/markers'
import type { LonLat } from '@/shared/types'

/** Longer without a fix is a gap; the server cuts the trail by the same figure. */
export const GAP_S = 180

export interface TrailFigures {
  lengthM: number
  gaps: number
  points: number
}

export function figuresOf(segments: readonly TrailPoint[][]): TrailFigures {
  let lengthM = 0
  let points = 0
  for (const segment of segments) {
    points += segment.length
    for (let index = 1; index < segment.length; index += 1) {
      const [lonA, latA] = segment[index - 1]!
      const [lonB, latB] = segment[index]!
      lengthM += metresBetween(lonA, latA, lonB, latB)
    }
  }
  return { lengthM, points, gaps: Math.max(0, segments.filter((segment) => segment.length > 0).length - 1) }
}

/** A fix that came while the trail is on the screen. Returns false for one that is not newer than its end. */
export function extend(trail: Trail, point: TrailPoint): boolean {
  const last = trail.segments[trail.segments.length - 1]
  const end = last?.[last.length - 1]
  if (end && point[2] <= end[2]) return false
  if (!last || !end || point[2] - end[2] > GAP_S) trail.segments.push([point])
  else last.push(point)
  return true
}

interface Drawn {
  x: number
  y: number
  timeS: number
}

/** A trail in the coordinates of the map that is shown. */
export class TrailDrawing {
  private segments: Drawn[][] = []

  set(trail: Trail | null, toMap: (place: LonLat) => LonLat): void {
    this.segments = (trail?.segments ?? [])
      .filter((segment) => segment.length > 0)
      .map((segment) =>
        segment.map(([lon, lat, timeS]) => {
          const place = MercatorCoordinate.fromLngLat(toMap([lon, lat]))
          return { x: place.x, y: place.y, timeS }
        }),
      )
  }

  draw(pen: Pen, colour: string, casing: string, nowS: number, spanS: number, dots: boolean): void {
    const { context } = pen
    context.lineJoin = 'round'
    context.lineCap = 'round'
    const at = (point: Drawn): [number, number] => [point.x * pen.scale - pen.left, point.y * pen.scale - pen.top]
    for (const [index, segment] of this.segments.entries()) {
      const before = this.segments[index - 1]
      if (before) {
        context.setLineDash([2, 7])
        context.lineWidth = 2
        context.globalAlpha = 0.55
        context.strokeStyle = colour
        context.beginPath()
        context.moveTo(...at(before[before.length - 1]!))
        context.lineTo(...at(segment[0]!))
        context.stroke()
        context.setLineDash([])
      }
      const line = new Path2D()
      segment.forEach((point, position) => {
        const [x, y] = at(point)
        if (position === 0) line.moveTo(x, y)
        else line.lineTo(x, y)
      })
      context.globalAlpha = 0.75
      context.strokeStyle = casing
      context.lineWidth = 7
      context.stroke(line)
      // Older is fainter: pieces of a few fixes each, so that the direction of the walk can be read.
      context.strokeStyle = colour
      context.lineWidth = 3.6
      const step = Math.max(1, Math.ceil(segment.length / 40))
      for (let from = 0; from < segment.length - 1; from += step) {
        const to = Math.min(segment.length - 1, from + step)
        const age = Math.min(1, Math.max(0, (nowS - segment[to]!.timeS) / spanS))
        context.globalAlpha = 1 - 0.7 * age
        context.beginPath()
        context.moveTo(...at(segment[from]!))
        for (let position = from + 1; position <= to; position += 1) context.lineTo(...at(segment[position]!))
        context.stroke()
      }
      if (segment.length === 1 || dots) {
        context.fillStyle = colour
        for (const point of segment) {
          const [x, y] = at(point)
          context.globalAlpha = 0.9
          context.beginPath()
          context.arc(x, y, 2.6, 0, Math.PI * 2)
          context.fill()
        }
      }
    }
    context.globalAlpha = 1
  }
}
