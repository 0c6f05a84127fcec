import { describe, expect, it } from 'vitest'
import { lines, mondayOf, plusDays, weekOf } from '@/desk/roster/days'

describe('days of a roster', () => {
  it('has weeks that begin on Monday, over months, years and leap days', () => {
    expect(weekOf('2026-12-01')).toEqual(['2026-11-30', '2026-12-01', '2026-12-02', '2026-12-03', '2026-12-04', '2026-12-05', '2026-12-06'])
    for (const day of ['2024-02-29', '2026-01-01', '2026-03-29', '2026-11-01']) {
      expect(weekOf(day)).toContain(day)
      expect(weekOf(plusDays(mondayOf(day), 6))).toEqual(weekOf(day))
      expect(weekOf(plusDays(day, 7))[0]).toBe(plusDays(weekOf(day)[0]!, 7))
    }
  })

  it('has a line for each officer, by name, and on each day what is planned in its order', () => {
    const one = (id: string, name: string, day: string, from: string) => ({ officer: { id, display_name: name }, day, from })
    const found = lines([one('b', '乙', '2026-12-01', '08:00'), one('a', '甲', '2026-12-01', '08:00'), one('b', '乙', '2026-12-01', '16:00')], 'en')
    expect(found.map((line) => line.id).sort()).toEqual(['a', 'b'])
    expect(found.find((line) => line.id === 'b')!.days['2026-12-01']!.map((shift) => shift.from)).toEqual(['08:00', '16:00'])
    expect(found.find((line) => line.id === 'a')!.days['2026-12-02']).toBeUndefined()
  })
})
