/** Where the live map looks: at whom or what is selected, in the middle of what cards and sheets leave of it. */
import type { TownMap } from '@/shared/map'
import type { LonLat } from '@/shared/types'
import { reducedMotion } from '../client'
import { narrow } from '../shell/narrow'

const NEAR_ZOOM = 15.2
/** From here on officers can be told from each other. */
const APART_ZOOM = 13.5
/** Half the width of an officer's card with its rim; half the share of a phone's screen that the sheet covers. */
const CARD_ASIDE_PX = 170
const SHEET_SHARE = 0.22

export class Camera {
  constructor(private readonly of: TownMap) {}

  private get box(): HTMLElement {
    return this.of.map.getContainer()
  }
  private get underSheetPx(): number {
    return narrow.value ? this.box.clientHeight * SHEET_SHARE : 0
  }

  private fly(center: LonLat, asidePx: number): void {
    this.of.map.easeTo({
      center,
      zoom: Math.max(this.of.map.getZoom(), NEAR_ZOOM),
      offset: [narrow.value ? 0 : -asidePx, -this.underSheetPx],
      duration: reducedMotion.value ? 0 : 650,
    })
  }

  /** Brings a place of the map into view; unless `always`, it stays where it is when one sees the place well already. */
  show(at: LonLat, besideCard: boolean, always: boolean): void {
    const pixel = this.of.map.project(at)
    const right = besideCard && !narrow.value ? 380 : 40
    const bottom = narrow.value ? this.box.clientHeight * 0.55 : 60
    const seen = pixel.x > 60 && pixel.x < this.box.clientWidth - right && pixel.y > 60 && pixel.y < this.box.clientHeight - bottom
    if (seen && this.of.map.getZoom() >= APART_ZOOM && !always) return
    this.fly(at, besideCard ? CARD_ASIDE_PX : 0)
  }

  /** The same for the place of a task or an alarm, whose card is wider: its width is in the style of the live map. */
  showPlace(place: LonLat): void {
    this.fly(this.of.toMap(place), innerWidth > 1080 ? 198 : 156)
  }

  /** Moves along with somebody who walks, without a jump. */
  keep(at: LonLat): void {
    if (this.of.map.isMoving()) return
    const pixel = this.of.map.project(at)
    const dx = pixel.x - this.box.clientWidth / 2 + (narrow.value ? 0 : CARD_ASIDE_PX)
    const dy = pixel.y - this.box.clientHeight / 2 + this.underSheetPx
    if (Math.hypot(dx, dy) < 1.5) return
    this.of.map.panBy([dx, dy], { duration: 0 })
  }

  /** All of these places of the map at once. */
  showAll(places: LonLat[]): void {
    if (places.length === 0) return
    const lons = places.map((place) => place[0])
    const lats = places.map((place) => place[1])
    this.of.map.fitBounds(
      [
        [Math.min(...lons), Math.min(...lats)],
        [Math.max(...lons), Math.max(...lats)],
      ],
      { padding: 120, maxZoom: 17, duration: reducedMotion.value ? 0 : 500 },
    )
  }

  showArea(bounds: [number, number, number, number]): void {
    this.of.fitBounds(bounds, { padding: narrow.value ? 30 : 80, duration: reducedMotion.value ? 0 : 500 })
  }
}
