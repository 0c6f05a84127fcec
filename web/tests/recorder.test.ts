import { beforeEach, describe, expect, it, vi } from 'vitest'
import { metresBetween, segments, walkedM, type Step } from '@/officer/ground'
import { fixOf, keeps, Recorder } from '@/officer/recorder'
import type { FixIn, LonLat } from '@/shared/types'

function position(t: number, [longitude, latitude]: LonLat, more: Partial<GeolocationCoordinates> = {}): GeolocationPosition {
  const coords = { longitude, latitude, accuracy: 8, altitude: null, altitudeAccuracy: null, heading: NaN, speed: null, ...more }
  return { timestamp: t, coords } as unknown as GeolocationPosition
}

class Phone {
  measured: PositionCallback | null = null
  failed: PositionErrorCallback | null = null
  asked = 0
  visibilityState: DocumentVisibilityState = 'visible'
  seen = new Set<() => void>()
  now = 1_795_000_000_000
  geolocation = {
    watchPosition: (ok: PositionCallback, bad?: PositionErrorCallback | null) => {
      this.measured = ok
      this.failed = bad ?? null
      return 7
    },
    clearWatch: () => undefined,
    getCurrentPosition: () => void (this.asked += 1),
  }
  document = {
    addEventListener: (_kind: string, listener: () => void) => void this.seen.add(listener),
    removeEventListener: (_kind: string, listener: () => void) => void this.seen.delete(listener),
  }
  around() {
    const phone = this
    return {
      geolocation: this.geolocation,
      wakeLock: null,
      getBattery: null,
      permissions: null,
      document: Object.defineProperty(this.document, 'visibilityState', { get: () => phone.visibilityState, configurable: true }) as unknown as Document,
      now: () => this.now,
    }
  }
  turn(state: DocumentVisibilityState) {
    this.visibilityState = state
    for (const listener of this.seen) listener()
  }
}

describe('the recorder', () => {
  let phone: Phone
  let taken: FixIn[]
  let recorder: Recorder
  beforeEach(() => {
    vi.useFakeTimers()
    phone = new Phone()
    taken = []
    recorder = new Recorder((fix) => taken.push(fix), phone.around())
  })

  it('keeps a steady pace and follows somebody who moves', () => {
    const here: LonLat = [121.3, 31.1]
    expect(keeps(null, { t: 0, place: here })).toBe(true)
    expect(keeps({ t: 0, place: here }, { t: 4000, place: here })).toBe(false)
    expect(keeps({ t: 0, place: here }, { t: 5000, place: here })).toBe(true)
    expect(keeps({ t: 0, place: here }, { t: 1500, place: [121.3003, 31.1] })).toBe(true)
    expect(keeps({ t: 5000, place: here }, { t: 5000, place: [121.31, 31.1] })).toBe(false)
  })

  it('records nothing before it is started and nothing after it is stopped, not even what arrives late', () => {
    expect(recorder.running).toBe(false)
    recorder.start()
    phone.measured!(position(phone.now, [121.3, 31.1]))
    expect(taken.length).toBe(1)
    const late = phone.measured!
    recorder.stop()
    late(position(phone.now + 9000, [121.4, 31.1]))
    expect(taken.length).toBe(1)
    expect(recorder.location.value).toBe('off')
    expect(phone.seen.size).toBe(0)
  })

  it('shows and keeps nothing that was measured before the shift, neither then nor in an earlier one', () => {
    recorder.start()
    phone.measured!(position(phone.now, [121.3, 31.1]))
    recorder.stop()
    phone.now += 3_600_000
    recorder.start(phone.now)
    expect(recorder.here.value).toBeNull()
    phone.measured!(position(phone.now - 20_000, [121.3, 31.1]))
    expect(recorder.here.value).toBeNull()
    phone.measured!(position(phone.now + 1000, [121.4, 31.1]))
    expect(recorder.here.value?.place).toEqual([121.4, 31.1])
    expect(taken.map(({ lon }) => lon)).toEqual([121.3, 121.4])
  })

  it('says when location is refused, and tries again when asked to', () => {
    recorder.start()
    phone.failed!({ code: 1, PERMISSION_DENIED: 1 } as GeolocationPositionError)
    expect(recorder.location.value).toBe('denied')
    recorder.again()
    expect(recorder.location.value).toBe('searching')
  })

  it('names the time in which the page was away', () => {
    recorder.start()
    phone.measured!(position(phone.now, [121.3, 31.1]))
    phone.turn('hidden')
    phone.now += 240_000
    phone.turn('visible')
    expect(recorder.pausedFor.value).toBe(240_000)
  })

  it('asks a phone at rest, so that its officer does not look silent', () => {
    recorder.start()
    phone.measured!(position(phone.now, [121.3, 31.1]))
    phone.now += 31_000
    vi.advanceTimersByTime(15_000)
    expect(phone.asked).toBe(1)
  })

  it('says that a browser without geolocation or without a wake lock has none', () => {
    const bare = new Recorder(() => undefined, { ...phone.around(), geolocation: null })
    bare.start()
    expect(bare.location.value).toBe('unsupported')
    expect(bare.wake.value).toBe('unavailable')
  })

  it('leaves out what the phone does not know, instead of inventing a zero', () => {
    const fix = fixOf(position(1_795_000_000_000, [121.30000001, 31.1], { speed: null, heading: NaN }), null)
    expect(fix).toEqual({ fixed_at: new Date(1_795_000_000_000).toISOString(), lon: 121.3, lat: 31.1, accuracy_m: 8 })
    expect(fixOf(position(0, [1, 2], { heading: 360, speed: 1.234 }), { pct: 50, charging: true })).toMatchObject({
      heading_deg: 0,
      speed_mps: 1.23,
      battery_pct: 50,
      charging: true,
    })
  })
})

describe('the track on the phone', () => {
  const walk = (count: number, gapAt = -1): Step[] =>
    Array.from({ length: count }, (_, n) => ({
      t: n * 5000 + (gapAt >= 0 && n >= gapAt ? 600_000 : 0),
      place: [121.3 + n * 0.0001, 31.1],
      accuracy_m: 8,
    }))

  it('breaks where there was no fix for three minutes', () => {
    expect(segments(walk(20)).length).toBe(1)
    expect(segments(walk(20, 10)).map((piece) => piece.length)).toEqual([10, 10])
  })
  it('counts the metres walked, and not the trembling of one who stands', () => {
    const metres = walkedM(walk(101))
    expect(Math.abs(metres - metresBetween([121.3, 31.1], [121.31, 31.1]))).toBeLessThan(12)
    const standing: Step[] = Array.from({ length: 200 }, (_, n) => ({ t: n * 5000, place: [121.3 + (n % 2) * 0.00002, 31.1], accuracy_m: 12 }))
    expect(walkedM(standing)).toBe(0)
  })
})
