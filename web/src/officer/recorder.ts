/**
 * Takes fixes from the phone while a shift runs and its page is in view.
 *
 * A browser measures nothing with the screen off: the recorder keeps the screen on where it may, says clearly where it
 * may not, and names the pauses that happened, instead of letting an officer believe that all was recorded.
 */
import { ref } from 'vue'
import type { FixIn, LonLat } from '@/shared/types'
import { metresBetween } from './ground'

export type LocationState =
  /** Nothing is asked for. */
  | 'off'
  /** Asked, nothing received yet. */
  | 'searching'
  | 'recording'
  /** The officer, or the system, has said no. */
  | 'denied'
  /** No satellite, no network position. */
  | 'unavailable'
  /** The browser has no geolocation, or keeps it back on plain HTTP. */
  | 'unsupported'
export type WakeState = 'off' | 'held' | 'unavailable'

export interface Battery {
  pct: number
  charging: boolean
}
export interface Here {
  place: LonLat
  accuracy_m: number
  heading_deg: number | null
  speed_mps: number | null
  /** Milliseconds since the epoch, of the device. */
  t: number
}

export interface RecorderSurroundings {
  geolocation: Pick<Geolocation, 'watchPosition' | 'clearWatch' | 'getCurrentPosition'> | null
  wakeLock: Pick<WakeLock, 'request'> | null
  permissions: Pick<Permissions, 'query'> | null
  getBattery: (() => Promise<BatteryManager>) | null
  document: Pick<Document, 'visibilityState' | 'addEventListener' | 'removeEventListener'>
  now: () => number
}
export interface BatteryManager extends EventTarget {
  level: number
  charging: boolean
}

const EVERY_MS = 5_000
const MOVED_M = 15
const AT_MOST_EVERY_MS = 1_000
/** A phone at rest reports nothing new; it is asked, so that its officer does not look silent. */
const HEARTBEAT_MS = 30_000
/** Shorter pauses of the page are not worth a word. */
const TOLD_PAUSE_MS = 60_000

/** Whether a measurement is kept: at a steady pace, and sooner when the officer has moved on. */
export function keeps(before: Pick<Here, 't' | 'place'> | null, next: Pick<Here, 't' | 'place'>): boolean {
  if (!before) return true
  const waited = next.t - before.t
  if (waited <= 0) return false
  if (waited >= EVERY_MS) return true
  return waited >= AT_MOST_EVERY_MS && metresBetween(before.place, next.place) >= MOVED_M
}

/** A measurement of the browser as the API takes it. Browsers measure in WGS-84. */
export function fixOf(position: GeolocationPosition, battery: Battery | null): FixIn {
  const { longitude, latitude, accuracy, altitude, speed, heading } = position.coords
  const fix: FixIn = {
    fixed_at: new Date(position.timestamp).toISOString(),
    lon: Number(longitude.toFixed(7)),
    lat: Number(latitude.toFixed(7)),
  }
  if (isNumber(accuracy)) fix.accuracy_m = Number(accuracy.toFixed(1))
  if (isNumber(altitude)) fix.altitude_m = Number(altitude.toFixed(1))
  if (isNumber(speed) && speed >= 0) fix.speed_mps = Number(speed.toFixed(2))
  if (isNumber(heading) && heading >= 0) fix.heading_deg = Number((heading % 360).toFixed(1))
  if (battery) {
    fix.battery_pct = battery.pct
    fix.charging = battery.charging
  }
  return fix
}

function isNumber(value: number | null | undefined): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}

export class Recorder {
  readonly location = ref<LocationState>('off')
  readonly wake = ref<WakeState>('off')
  readonly battery = ref<Battery | null>(null)
  readonly here = ref<Here | null>(null)
  /** Since when the page was last out of view, and how long nothing was recorded, until it is told. */
  readonly pausedFor = ref<number | null>(null)

  private readonly around: RecorderSurroundings
  private watch: number | null = null
  private heartbeat: ReturnType<typeof setInterval> | undefined
  private lock: WakeLockSentinel | null = null
  private kept: Here | null = null
  private hiddenAt: number | null = null
  private since = 0
  private batteryManager: BatteryManager | null = null
  private permission: PermissionStatus | null = null

  constructor(
    /** Called with each fix that is to be kept. */
    private readonly take: (fix: FixIn, here: Here) => void,
    given: Partial<RecorderSurroundings> = {},
  ) {
    const navigator = globalThis.navigator as Navigator & { getBattery?: () => Promise<BatteryManager> }
    const secure = globalThis.isSecureContext !== false
    this.around = {
      geolocation: secure ? (navigator?.geolocation ?? null) : null,
      wakeLock: navigator?.wakeLock ?? null,
      permissions: navigator?.permissions ?? null,
      getBattery: navigator?.getBattery ? () => navigator.getBattery!() : null,
      document: globalThis.document,
      now: () => Date.now(),
      ...given,
    }
  }

  get running(): boolean {
    return this.location.value !== 'off'
  }

  /** Measures from now on; what was measured before `since`, by this phone's clock, is as if it had not been. */
  start(since = 0): void {
    if (this.running) return
    this.since = since
    this.here.value = null
    this.around.document.addEventListener('visibilitychange', this.seen)
    void this.readBattery()
    void this.watchPermission()
    void this.keepAwake()
    this.listen()
    this.heartbeat = setInterval(() => this.beat(), HEARTBEAT_MS / 2)
  }

  /** Nothing is measured any more, at once. */
  stop(): void {
    if (this.watch !== null) this.around.geolocation?.clearWatch(this.watch)
    this.watch = null
    clearInterval(this.heartbeat)
    this.around.document.removeEventListener('visibilitychange', this.seen)
    this.batteryManager?.removeEventListener('levelchange', this.charge)
    this.batteryManager?.removeEventListener('chargingchange', this.charge)
    this.batteryManager = null
    this.permission?.removeEventListener('change', this.permitted)
    this.permission = null
    void this.lock?.release().catch(() => undefined)
    this.lock = null
    this.wake.value = 'off'
    this.location.value = 'off'
    this.kept = null
    this.hiddenAt = null
    this.pausedFor.value = null
  }

  /** After the officer has allowed what he had refused. */
  again(): void {
    if (!this.running) return
    if (this.watch !== null) this.around.geolocation?.clearWatch(this.watch)
    this.watch = null
    this.listen()
    void this.keepAwake()
  }

  private listen(): void {
    const { geolocation } = this.around
    if (!geolocation) {
      this.location.value = 'unsupported'
      return
    }
    this.location.value = 'searching'
    this.watch = geolocation.watchPosition(this.measured, this.failed, {
      enableHighAccuracy: true,
      maximumAge: 0,
      timeout: 60_000,
    })
  }

  private readonly measured = (position: GeolocationPosition): void => {
    // A late answer of a watch that was given up must not record anything off shift.
    if (!this.running) return
    const { longitude, latitude, accuracy, heading, speed } = position.coords
    const next: Here = {
      place: [longitude, latitude],
      accuracy_m: accuracy,
      heading_deg: isNumber(heading) ? heading : null,
      speed_mps: isNumber(speed) ? speed : null,
      t: position.timestamp,
    }
    this.location.value = 'recording'
    // A phone may first hand out a place that it measured before the shift.
    if (next.t < this.since) return
    this.here.value = next
    if (!keeps(this.kept, next)) return
    this.kept = next
    this.take(fixOf(position, this.battery.value), next)
  }

  private readonly failed = (error: GeolocationPositionError): void => {
    if (!this.running) return
    if (error.code === error.PERMISSION_DENIED) this.location.value = 'denied'
    else if (this.location.value !== 'recording' || this.staleMs() > 2 * HEARTBEAT_MS) this.location.value = 'unavailable'
  }

  private staleMs(): number {
    return this.here.value ? this.around.now() - this.here.value.t : Infinity
  }

  private beat(): void {
    if (this.around.document.visibilityState !== 'visible') return
    if (this.location.value === 'denied' || this.location.value === 'unsupported') return
    if (this.staleMs() < HEARTBEAT_MS) return
    this.around.geolocation?.getCurrentPosition(this.measured, this.failed, {
      enableHighAccuracy: true,
      maximumAge: 0,
      timeout: 20_000,
    })
  }

  private readonly seen = (): void => {
    if (this.around.document.visibilityState === 'hidden') {
      this.hiddenAt = this.around.now()
      return
    }
    void this.keepAwake()
    if (this.hiddenAt !== null) {
      const from = Math.max(this.hiddenAt, this.here.value?.t ?? this.hiddenAt)
      const pause = this.around.now() - from
      if (pause >= TOLD_PAUSE_MS) this.pausedFor.value = pause
      this.hiddenAt = null
    }
    this.beat()
  }

  private async keepAwake(): Promise<void> {
    if (!this.around.wakeLock) {
      this.wake.value = 'unavailable'
      return
    }
    if (this.lock && !this.lock.released) return
    try {
      const lock = await this.around.wakeLock.request('screen')
      if (!this.running) {
        await lock.release()
        return
      }
      this.lock = lock
      this.wake.value = 'held'
      lock.addEventListener('release', () => {
        if (this.running && this.around.document.visibilityState === 'visible') this.wake.value = 'unavailable'
      })
    } catch {
      // Low battery modes and some browsers refuse; the officer is told to keep the screen on himself.
      if (this.running) this.wake.value = 'unavailable'
    }
  }

  /** Whoever allows his location in the settings of the browser need not press anything here. */
  private async watchPermission(): Promise<void> {
    try {
      const status = await this.around.permissions?.query({ name: 'geolocation' })
      if (!status || !this.running) return
      this.permission = status
      status.addEventListener('change', this.permitted)
    } catch {
      // Not every browser can be asked about this permission; there is the button.
    }
  }
  private readonly permitted = (): void => {
    if (this.permission?.state === 'granted' && this.location.value === 'denied') this.again()
  }

  private async readBattery(): Promise<void> {
    if (!this.around.getBattery) return
    try {
      const manager = await this.around.getBattery()
      if (!this.running) return
      this.batteryManager = manager
      this.charge()
      manager.addEventListener('levelchange', this.charge)
      manager.addEventListener('chargingchange', this.charge)
    } catch {
      // Not every browser tells.
    }
  }
  private readonly charge = (): void => {
    if (!this.batteryManager) return
    this.battery.value = {
      pct: Math.round(this.batteryManager.level * 100),
      charging: this.batteryManager.charging,
    }
  }
}
