import { describe, expect, it } from 'vitest'
import { arrange, type Narrowing } from '@/desk/live/attention'
import { Roster, statusOf } from '@/desk/live/roster'
import { moved, type Movement } from '@/desk/live/status'
import vectors from '../motion-vectors.json'
import type { DeskOfficer, PositionRow } from '@/desk/types'

/** Fixes as seconds, metres to the north, speed and accuracy; `tests/geo/test_motion.py` reads the same. */
interface MotionVector {
  name: string
  moving: boolean
  fixes: [number, number, number | null, number][]
}

const T0 = Date.UTC(2026, 10, 23, 8, 0, 0) / 1000
const iso = (s: number) => new Date(s * 1000).toISOString()

function officer(id: string, fixedAtS: number | null, more: Partial<DeskOfficer> = {}): DeskOfficer {
  return {
    id,
    display_name: `队员${id}`,
    kind: 'patrol',
    call_sign: null,
    area: { id: 'a', name: { 'zh-CN': '一居', en: 'One' } },
    shift_id: `s-${id}`,
    shift_started_at: iso(T0 - 3600),
    status: fixedAtS === null ? 'unlocated' : 'still',
    position:
      fixedAtS === null
        ? null
        : {
            lon: 121,
            lat: 31,
            fixed_at: iso(fixedAtS),
            received_at: iso(fixedAtS),
            accuracy_m: 8,
            speed_mps: 0,
            heading_deg: null,
            battery_pct: 60,
            charging: false,
            area_id: 'a',
          },
    shift_version: 1,
    silent_after_s: 180,
    ...more,
  }
}
const row = (id: string, at: number, lon = 121, lat = 31, speed: number | null = 1.2): PositionRow => [
  id, lon, lat, at, 8, speed, 90, 55, 'a', false,
]
function loaded(...officers: DeskOfficer[]): Roster {
  const roster = new Roster()
  const reading = roster.ask()
  roster.merge(reading, officers)
  roster.complete(reading)
  return roster
}

describe('the roster', () => {
  it('takes a newer position and never an older one, whatever order they come in', () => {
    const roster = loaded(officer('1', T0))
    roster.position([row('1', T0 + 10, 121.001)])
    roster.position([row('1', T0 + 5, 121.9)])
    roster.position([row('1', T0 + 10, 121.9)])
    expect(roster.officers.get('1')!.place).toMatchObject({ lon: 121.001, fixedAtS: T0 + 10 })
  })

  it('does not let a slow answer move an officer back', () => {
    const roster = loaded(officer('1', T0))
    const slow = roster.ask()
    roster.position([row('1', T0 + 30, 121.003)])
    roster.merge(slow, [officer('1', T0 + 10)])
    roster.complete(slow)
    expect(roster.officers.get('1')!.place).toMatchObject({ lon: 121.003, fixedAtS: T0 + 30 })
  })

  it('does not let an answer that was asked for before the shift ended bring the officer back', () => {
    const roster = loaded(officer('1', T0), officer('2', T0))
    const slow = roster.ask()
    roster.remove('1')
    roster.merge(slow, [officer('1', T0 + 1), officer('2', T0 + 1)])
    roster.complete(slow)
    expect([...roster.officers.keys()]).toEqual(['2'])
    // His last fixes may still be under way; they are not a reason to ask for him.
    expect(roster.position([row('1', T0 + 2)])).toEqual([])
  })

  it('shows him again when his next shift begins', () => {
    const roster = loaded(officer('1', T0))
    roster.remove('1')
    roster.expect('1')
    const reading = roster.ask()
    roster.merge(reading, [officer('1', null, { shift_id: 's2' })])
    expect(roster.officers.get('1')).toMatchObject({ place: null, officer: { shift_id: 's2' } })
  })

  it('removes whoever is missing from a complete answer, unless he was heard of since', () => {
    const roster = loaded(officer('1', T0), officer('2', T0), officer('3', T0))
    const reading = roster.ask()
    roster.position([row('2', T0 + 4)])
    roster.merge(reading, [officer('1', T0)])
    expect(roster.complete(reading)).toEqual(['3'])
    expect([...roster.officers.keys()].sort()).toEqual(['1', '2'])
  })

  it('keeps the newer of two descriptions when answers overtake each other', () => {
    const roster = loaded(officer('1', T0))
    const first = roster.ask()
    const second = roster.ask()
    roster.merge(second, [officer('1', T0, { call_sign: '巡2' })])
    roster.merge(first, [officer('1', T0, { call_sign: '巡1' })])
    expect(roster.officers.get('1')!.officer.call_sign).toBe('巡2')
  })

  it('asks for officers of whom it knows nothing', () => {
    const roster = loaded(officer('1', T0))
    expect(roster.position([row('1', T0 + 1), row('9', T0 + 1)])).toEqual(['9'])
  })

  it('forgets the place of the last shift when a new one begins', () => {
    const roster = loaded(officer('1', T0))
    const reading = roster.ask()
    roster.merge(reading, [officer('1', null, { shift_id: 'next' })])
    expect(roster.officers.get('1')!.place).toBeNull()
  })
})

describe('a status', () => {
  it('becomes silent by age alone, also when nothing is heard from the server', () => {
    const roster = loaded(officer('1', T0), officer('2', null))
    const one = roster.officers.get('1')!
    expect(statusOf(one, T0 + 179)).toBe('still')
    expect(statusOf(one, T0 + 181)).toBe('silent')
    expect(statusOf(roster.officers.get('2')!, T0)).toBe('unlocated')
    roster.position([row('1', T0 + 200)])
    expect(statusOf(one, T0 + 201)).toBe('moving')
  })

  it('is moving by the reported speed, or by leaving the spot where he was, as the server tells it', () => {
    for (const { name, fixes, moving } of vectors as MotionVector[]) {
      const after = fixes.reduce<Movement | null>(
        (before, [fixedAtS, northM, speedMps, accuracyM]) =>
          moved(before, { lon: 121, lat: 31 + northM / 111_195, fixedAtS, accuracyM, speedMps }),
        null,
      )
      expect(after!.moving, name).toBe(moving)
    }
  })

  it('of a phone that tells no speed does not stand still because the list was read again', () => {
    const position = (lon: number, at: number) => ({ ...officer('1', at).position!, lon, speed_mps: null })
    const roster = loaded(officer('1', T0, { position: position(121, T0) }))
    const silentOnSpeed = row('1', T0 + 10)
    silentOnSpeed[1] = 121.0003
    silentOnSpeed[5] = null
    roster.position([silentOnSpeed])
    expect(statusOf(roster.officers.get('1')!, T0 + 11)).toBe('moving')
    roster.merge(roster.ask(), [officer('1', T0 + 20, { position: position(121.0006, T0 + 20), status: 'still' })])
    expect(statusOf(roster.officers.get('1')!, T0 + 21)).toBe('moving')
    roster.merge(roster.ask(), [officer('1', T0 + 30, { position: { ...position(121.0006, T0 + 30), speed_mps: 0.1 } })])
    expect(statusOf(roster.officers.get('1')!, T0 + 31)).toBe('still')
  })
})

describe('the list', () => {
  const narrowing: Narrowing = { text: '', statuses: new Set(), areaIds: null, order: 'attention' }
  const roster = loaded(
    officer('calm', T0, { display_name: '王一' }),
    officer('old', T0 - 900, { display_name: '李二' }),
    officer('older', T0 - 2000, { display_name: '张三', call_sign: '巡301' }),
    officer('none', null, { display_name: '赵四', area: { id: 'b', name: { 'zh-CN': '二居', en: 'Two' } } }),
    officer('low', T0, { display_name: '周五' }),
  )
  roster.officers.get('low')!.place!.batteryPct = 9
  const ids = (more: Partial<Narrowing> = {}) =>
    arrange(roster.officers.values(), { ...narrowing, ...more }, T0 + 1).rows.map((one) => one.id)

  it('puts first who needs attention: the longest silence, then no fix, then a low battery', () => {
    expect(ids()).toEqual(['older', 'old', 'none', 'low', 'calm'])
  })
  it('finds by name and by call sign', () => {
    expect(ids({ text: '李' })).toEqual(['old'])
    expect(ids({ text: '巡30' })).toEqual(['older'])
  })
  it('narrows by area and status, and counts each status whatever is filtered', () => {
    expect(ids({ areaIds: new Set(['b']) })).toEqual(['none'])
    const found = arrange(roster.officers.values(), { ...narrowing, statuses: new Set(['silent'] as const) }, T0 + 1)
    expect(found.rows.map((one) => one.id)).toEqual(['older', 'old'])
    expect(found.counts).toEqual({ silent: 2, unlocated: 1, still: 2, moving: 0 })
    expect(found.total).toBe(5)
    const nobody = arrange(roster.officers.values(), { ...narrowing, text: '没有这个人' }, T0 + 1)
    expect([nobody.rows.length, nobody.total]).toEqual([0, 5])
  })
  it('sorts by name and by the age of the fix', () => {
    expect(ids({ order: 'age' }).slice(0, 3)).toEqual(['none', 'older', 'old'])
    expect(ids({ order: 'name' })).toHaveLength(5)
  })
})
