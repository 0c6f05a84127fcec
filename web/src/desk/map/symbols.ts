/**
 * The marks of officers, drawn once each and copied from then on.
 *
 * Shape tells the status as well as colour: moving is a disc with a pointer, still a rounded square, silent a diamond
 * with an exclamation mark, and a place that is only a memory (a gap in a replay, no fix at all) a hollow ring.
 */
import type { OfficerStatus } from '@/shared/types'

export type Shape = 'disc' | 'square' | 'diamond' | 'ring'

export function shapeOf(status: OfficerStatus): Shape {
  if (status === 'moving') return 'disc'
  if (status === 'still') return 'square'
  return status === 'silent' ? 'diamond' : 'ring'
}

export interface SymbolLook {
  shape: Shape
  colour: string
  rim: string
  /** Outer diameter in CSS pixels. */
  sizePx: number
}

export interface Sprite {
  image: HTMLCanvasElement
  widthPx: number
  heightPx: number
}

export const MAP_FONT = '"Noto Sans CJK SC", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", system-ui, sans-serif'

function path(context: CanvasRenderingContext2D, shape: Shape, centre: number, radius: number): void {
  context.beginPath()
  if (shape === 'square') {
    const half = radius * 0.88
    context.roundRect(centre - half, centre - half, half * 2, half * 2, radius * 0.36)
  } else if (shape === 'diamond') {
    const reach = radius * 1.16
    context.moveTo(centre, centre - reach)
    context.lineTo(centre + reach, centre)
    context.lineTo(centre, centre + reach)
    context.lineTo(centre - reach, centre)
    context.closePath()
  } else {
    context.arc(centre, centre, radius, 0, Math.PI * 2)
  }
}

export class SymbolPress {
  private readonly made = new Map<string, Sprite>()

  constructor(private readonly ratio: number) {}

  private canvas(widthPx: number, heightPx: number): [HTMLCanvasElement, CanvasRenderingContext2D] {
    const image = document.createElement('canvas')
    image.width = Math.ceil(widthPx * this.ratio)
    image.height = Math.ceil(heightPx * this.ratio)
    const context = image.getContext('2d')!
    context.scale(this.ratio, this.ratio)
    return [image, context]
  }

  private keep(key: string, draw: () => Sprite): Sprite {
    const found = this.made.get(key)
    if (found) return found
    // A day of names and call signs must not fill the memory; drawing them again is cheap.
    if (this.made.size > 6000) this.made.clear()
    const sprite = draw()
    this.made.set(key, sprite)
    return sprite
  }

  symbol(look: SymbolLook): Sprite {
    const { shape, colour, rim, sizePx } = look
    return this.keep(`s|${shape}|${colour}|${rim}|${sizePx}`, () => {
      const side = sizePx * 1.3 + 6
      const centre = side / 2
      const [image, context] = this.canvas(side, side)
      const rimWidth = sizePx >= 16 ? 2 : 1.25
      const radius = sizePx / 2 - rimWidth / 2
      context.shadowColor = 'rgb(0 0 0 / 0.38)'
      context.shadowBlur = 3 * this.ratio
      context.shadowOffsetY = this.ratio
      path(context, shape, centre, radius)
      if (shape === 'ring') {
        context.setLineDash([3, 2.5])
        context.lineWidth = 2
        context.strokeStyle = colour
        context.stroke()
        context.shadowColor = 'transparent'
        context.beginPath()
        context.arc(centre, centre, Math.max(1.5, radius * 0.3), 0, Math.PI * 2)
        context.fillStyle = colour
        context.fill()
        return { image, widthPx: side, heightPx: side }
      }
      context.fillStyle = colour
      context.fill()
      context.shadowColor = 'transparent'
      context.lineWidth = rimWidth
      context.strokeStyle = rim
      context.stroke()
      if (shape === 'diamond') this.exclaim(context, centre, sizePx)
      return { image, widthPx: side, heightPx: side }
    })
  }

  /** Drawn, not written: a font's exclamation mark sits differently on every computer. */
  private exclaim(context: CanvasRenderingContext2D, centre: number, sizePx: number): void {
    context.strokeStyle = '#fff'
    context.lineCap = 'round'
    context.lineWidth = Math.max(1.6, sizePx * 0.11)
    context.beginPath()
    context.moveTo(centre, centre - sizePx * 0.24)
    context.lineTo(centre, centre + sizePx * 0.05)
    context.moveTo(centre, centre + sizePx * 0.25)
    context.lineTo(centre, centre + sizePx * 0.26)
    context.stroke()
  }

  /** The character inside a mark. It stays upright while the mark below it is turned. */
  mark(text: string, sizePx: number): Sprite {
    return this.keep(`m|${text}|${sizePx}`, () => {
      const [image, context] = this.canvas(sizePx, sizePx)
      context.fillStyle = '#fff'
      context.font = `700 ${Math.round(sizePx * 0.52)}px ${MAP_FONT}`
      context.textAlign = 'center'
      context.textBaseline = 'middle'
      context.fillText(text, sizePx / 2, sizePx / 2 + sizePx * 0.035)
      return { image, widthPx: sizePx, heightPx: sizePx }
    })
  }

  /** The mark of a moving officer: a drop whose point is drawn towards north; it is turned when it is copied. */
  drop(colour: string, rim: string, sizePx: number): Sprite {
    return this.keep(`p|${colour}|${rim}|${sizePx}`, () => {
      const side = sizePx * 1.9 + 6
      const centre = side / 2
      const [image, context] = this.canvas(side, side)
      const rimWidth = sizePx >= 16 ? 2 : 1.25
      const radius = sizePx / 2 - rimWidth / 2
      const tip = radius * 1.62
      // The sides of the point touch the circle as tangents.
      const open = Math.acos(radius / tip)
      context.shadowColor = 'rgb(0 0 0 / 0.38)'
      context.shadowBlur = 3 * this.ratio
      context.beginPath()
      context.arc(centre, centre, radius, -Math.PI / 2 + open, -Math.PI / 2 - open + Math.PI * 2)
      context.lineTo(centre, centre - tip)
      context.closePath()
      context.lineJoin = 'round'
      context.fillStyle = colour
      context.fill()
      context.shadowColor = 'transparent'
      context.lineWidth = rimWidth
      context.strokeStyle = rim
      context.stroke()
      return { image, widthPx: side, heightPx: side }
    })
  }

  label(text: string, ink: string, halo: string, strong: boolean): Sprite {
    return this.keep(`l|${text}|${ink}|${halo}|${strong}`, () => {
      const font = `${strong ? 700 : 500} 12px ${MAP_FONT}`
      const [, ruler] = this.canvas(1, 1)
      ruler.font = font
      const widthPx = Math.ceil(ruler.measureText(text).width) + 10
      const heightPx = 18
      const [image, context] = this.canvas(widthPx, heightPx)
      context.font = font
      context.textBaseline = 'middle'
      // A plate under the name: what the map writes below it would otherwise be read together with it.
      context.globalAlpha = strong ? 0.95 : 0.74
      context.fillStyle = halo
      context.beginPath()
      context.roundRect(0.5, 0.5, widthPx - 1, heightPx - 1, 5)
      context.fill()
      context.globalAlpha = 1
      context.fillStyle = ink
      context.fillText(text, 5, heightPx / 2 + 0.5)
      return { image, widthPx, heightPx }
    })
  }

  /** A bubble: how many, and a ring that shows how many of them are in which status. */
  bubble(count: number, parts: { share: number; colour: string }[], fill: string, ink: string): Sprite {
    const shares = parts.map((part) => Math.round(part.share * 24))
    return this.keep(`b|${count}|${shares.join()}|${parts.map((part) => part.colour).join()}|${fill}`, () => {
      const radius = count < 10 ? 14 : count < 100 ? 17 : 21
      const side = radius * 2 + 8
      const centre = side / 2
      const [image, context] = this.canvas(side, side)
      context.shadowColor = 'rgb(0 0 0 / 0.35)'
      context.shadowBlur = 4 * this.ratio
      context.shadowOffsetY = this.ratio
      context.beginPath()
      context.arc(centre, centre, radius, 0, Math.PI * 2)
      context.fillStyle = fill
      context.fill()
      context.shadowColor = 'transparent'
      let from = -Math.PI / 2
      context.lineWidth = 4
      for (const part of parts) {
        if (part.share <= 0) continue
        const to = from + part.share * Math.PI * 2
        context.beginPath()
        context.arc(centre, centre, radius - 2, from, to)
        context.strokeStyle = part.colour
        context.stroke()
        from = to
      }
      context.fillStyle = ink
      context.font = `700 ${count < 100 ? 13 : 12}px ${MAP_FONT}`
      context.textAlign = 'center'
      context.textBaseline = 'middle'
      context.fillText(String(count), centre, centre + 0.5)
      return { image, widthPx: side, heightPx: side }
    })
  }
}
