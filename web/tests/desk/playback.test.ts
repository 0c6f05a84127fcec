import { describe, expect, it } from 'vitest'
import { activity, advance, gapsOf, reelOf, skipGap, spotAt, ticks } from '@/desk/replay/playback'
import { fromField, startOfDay, toField } from '@/desk/replay/town-time'
import { trackFeatures } from '@/desk/replay/track-layers'
import type { ReplayPoint } from '@/desk/types'

const segments: ReplayPoint[][] = [
  [
    [121, 31, 1000, 1],
    [121.001, 31, 1100, 1],
  ],
  [
    [121.005, 31.002, 2000, null],
    [121.005, 31.004, 2100, null],
  ],
]
const reel = reelOf({ officer_id: 'o', display_name: '王一', call_sign: '巡1', segments })

describe('a replayed track', () => {
  it('moves between two fixes of a segment', () => {
    expect(spotAt(reel, 1050)).toMatchObject({ state: 'here', lon: 121.0005, lat: 31, headingDeg: 90, speedMps: 1 })
    expect(spotAt(reel, 2050)).toMatchObject({ state: 'here', headingDeg: 0, speedMps: null })
  })
  it('stands still in a gap where it was last seen, and says that it is a gap', () => {
    expect(spotAt(reel, 1500)).toMatchObject({ state: 'gap', lon: 121.001, lat: 31, gapS: 900 })
  })
  it('knows before its first and after its last fix', () => {
    expect(spotAt(reel, 999)!.state).toBe('before')
    expect(spotAt(reel, 2101)!.state).toBe('after')
    expect(spotAt(reel, 2100)!.state).toBe('here')
  })
  it('has gaps between the segments and around them', () => {
    expect(gapsOf(reel, 900, 2300)).toEqual([
      { fromS: 900, toS: 1000 },
      { fromS: 1100, toS: 2000 },
      { fromS: 2100, toS: 2300 },
    ])
  })
  it('is drawn as its segments, with the gap as a line of its own', () => {
    const lines = trackFeatures([reel], () => '#123456', (place) => place, 'lines')
    const gaps = trackFeatures([reel], () => '#123456', (place) => place, 'gaps')
    expect(lines.features.map((one) => (one.geometry as GeoJSON.LineString).coordinates)).toEqual([
      [[121, 31], [121.001, 31]],
      [[121.005, 31.002], [121.005, 31.004]],
    ])
    expect(gaps.features.map((one) => (one.geometry as GeoJSON.LineString).coordinates)).toEqual([
      [[121.001, 31], [121.005, 31.002]],
    ])
  })
  it('bears an officer without fixes', () => {
    const empty = reelOf({ officer_id: 'e', display_name: '空', call_sign: null, segments: [[], []] })
    expect(spotAt(empty, 5)).toBeNull()
    expect(empty.intervals).toEqual([])
  })
})

describe('time in a replay', () => {
  const other = reelOf({ officer_id: 'p', display_name: '李', call_sign: null, segments: [[[121, 31, 1090, 0], [121, 31, 1200, 0]]] })
  const active = activity([reel, other])

  it('joins the times in which anybody has a track', () => {
    expect(active).toEqual([
      { fromS: 1000, toS: 1200 },
      { fromS: 2000, toS: 2100 },
    ])
  })
  it('goes on where somebody has a track again', () => {
    expect(skipGap(active, 1150)).toBe(1150)
    expect(skipGap(active, 1201)).toBe(2000)
    expect(skipGap(active, 2500)).toBe(2500)
  })
  it('passes at the chosen speed, skips only when asked to, and stops at the end', () => {
    const playing = { fromS: 900, toS: 2300, speed: 60, skipGaps: false, active }
    expect(advance(1000, 1000, playing)).toBe(1060)
    expect(advance(1190, 1000, playing)).toBe(1250)
    expect(advance(1190, 1000, { ...playing, skipGaps: true })).toBe(2000)
    expect(advance(2290, 1000, playing)).toBe(2300)
  })
  it('is marked in round steps, as many as fit', () => {
    expect(ticks(0, 3600, 8)).toEqual({ stepS: 600, at: [0, 600, 1200, 1800, 2400, 3000, 3600] })
    expect(ticks(0, 7 * 86400, 8).stepS).toBe(86400)
    expect(ticks(5, 6, 5).at).toEqual([])
  })
})

describe('a date-and-time field', () => {
  it('is meant in the time of the town, wherever the browser is', () => {
    const ms = Date.UTC(2026, 10, 23, 8, 5)
    expect(toField(ms, 'Asia/Shanghai')).toBe('2026-11-23T16:05')
    expect(fromField('2026-11-23T16:05', 'Asia/Shanghai')).toBe(ms)
    expect(startOfDay(ms, 'Asia/Shanghai')).toBe(Date.UTC(2026, 10, 22, 16, 0))
  })
  it('survives a change of clocks', () => {
    for (const text of ['2026-03-29T01:30', '2026-03-29T03:30', '2026-10-25T02:30', '2026-10-25T03:30']) {
      expect(toField(fromField(text, 'Europe/Berlin'), 'Europe/Berlin')).toBe(text)
    }
  })
  it('is no moment while it is unfinished', () => {
    expect(fromField('')).toBeNaN()
    expect(fromField('2026-11')).toBeNaN()
  })
})
