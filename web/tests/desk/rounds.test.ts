import { describe, expect, it } from 'vitest'
import { bend, fenceAround, handlesOf, without } from '@/desk/rounds/line'
import { groupOf, signsOf } from '@/desk/rounds/board'
import { choicesOf, DAILY, ruleOf, type Choices } from '@/desk/rounds/rule'
import type { DeskPatrol } from '@/desk/types'
import type { LonLat } from '@/shared/types'

const LINE: LonLat[] = [[121, 31], [121.01, 31], [121.02, 31.01]]

describe('the rule of a plan', () => {
  it.each<[Choices, string]>([
    [DAILY, 'FREQ=DAILY'],
    [{ ...DAILY, alsoAt: [20, 14] }, 'FREQ=DAILY;BYHOUR=8,14,20'],
    [{ ...DAILY, often: 'weekdays' }, 'FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR'],
    [{ ...DAILY, often: 'days', days: ['SU', 'MO'] }, 'FREQ=WEEKLY;BYDAY=MO,SU'],
    [{ ...DAILY, often: 'monthly', monthDays: [15, 1] }, 'FREQ=MONTHLY;BYMONTHDAY=1,15'],
  ])('is made of choices, and is read as those again: %#', (choices, rule) => {
    expect(ruleOf(choices, '08:30')).toBe(rule)
    expect(ruleOf(choicesOf(rule, '08:30'), '08:30')).toBe(rule)
    expect(choicesOf(rule, '08:30').often).toBe(choices.often)
  })
  it('is none while days are to be chosen', () => {
    expect(ruleOf({ ...DAILY, often: 'days' }, '08:00')).toBeNull()
    expect(ruleOf({ ...DAILY, often: 'monthly' }, '08:00')).toBeNull()
    expect(ruleOf({ ...DAILY, often: 'own', own: ' ' }, '08:00')).toBeNull()
  })
  it.each(['FREQ=WEEKLY;INTERVAL=2;BYDAY=MO', 'FREQ=MONTHLY;BYDAY=1MO', 'FREQ=MONTHLY;BYMONTHDAY=-1', 'FREQ=DAILY;BYHOUR=9', 'FREQ=WEEKLY'])(
    'stays to the letter where no choice says it: %s',
    (rule) => {
      expect(choicesOf(rule, '08:00').often).toBe('own')
      expect(ruleOf(choicesOf(rule, '08:00'), '08:00')).toBe(rule)
    },
  )
})

describe('the line of a route', () => {
  it('has a handle at each vertex and in the middle of each leg, and none where there is no line', () => {
    expect(handlesOf(LINE).map((one) => [one.index, one.middle])).toEqual([[0, false], [0, true], [1, false], [1, true], [2, false]])
    expect(handlesOf([])).toEqual([])
    // From afar a long line is not one chain of dots: its ends stay, and the one that is chosen.
    const long = Array.from({ length: 1000 }, (_, n): [number, number] => [121 + n * 1e-5, 31])
    const far = handlesOf(long, 50, 501)
    expect(far.length).toBeLessThan(30)
    expect([far[0]!.index, far.at(-1)!.index, far.some((one) => one.index === 501), far.some((one) => one.middle)]).toEqual([0, 999, true, false])
  })
  it('moves a vertex, and makes one of the middle of a leg', () => {
    const to: LonLat = [121.005, 31.005]
    expect(bend(LINE, { index: 1, middle: false }, to)).toEqual([LINE[0], to, LINE[2]])
    expect(bend(LINE, { index: 0, middle: true }, to)).toEqual([LINE[0], to, LINE[1], LINE[2]])
  })
  it('loses a vertex, but never one of the last two', () => {
    expect(without(LINE, 1)).toEqual([LINE[0], LINE[2]])
    expect(without(LINE.slice(0, 2), 1)).toEqual(LINE.slice(0, 2))
  })
  it('a fence is closed and as far from its middle in every direction', () => {
    const ring = fenceAround([121, 31], 50)
    expect(ring[0]).toEqual(ring.at(-1))
    for (const [lon, lat] of ring) {
      const [east, north] = [(lon - 121) * 111_320 * Math.cos((31 * Math.PI) / 180), (lat - 31) * 111_320]
      expect(Math.hypot(east, north)).toBeCloseTo(50, 3)
    }
  })
})

describe('the board', () => {
  const patrol = (more: Partial<DeskPatrol>) =>
    ({ state: 'planned', late_at: null, overdue_at: null, deviations: [], in_order: null, ...more }) as DeskPatrol
  it('tells a late patrol from one that is yet to begin, and a missed one from one that is over', () => {
    expect(groupOf(patrol({}))).toBe('planned')
    expect(groupOf(patrol({ late_at: '2026-11-23T08:00:00Z' }))).toBe('late')
    expect(groupOf(patrol({ state: 'paused', late_at: '2026-11-23T08:00:00Z' }))).toBe('active')
    expect(groupOf(patrol({ state: 'missed' }))).toBe('missed')
    expect((['completed', 'ended_early', 'cancelled'] as const).map((state) => groupOf(patrol({ state })))).toEqual(['done', 'done', 'done'])
  })
  it('shows what went wrong, and nothing where any order is as good', () => {
    expect(signsOf(patrol({}))).toEqual([])
    expect(signsOf(patrol({ in_order: true }))).toEqual([])
    expect(signsOf(patrol({ late_at: '2026-11-23T08:00:00Z', in_order: false }))).toEqual(['late', 'order'])
  })
})
