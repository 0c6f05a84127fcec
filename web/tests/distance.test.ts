import { expect, it } from 'vitest'
import { distance } from '@/shared/distance'

it('says metres where they are few and kilometres where they are many, never 1000 m or 10.00 km', () => {
  const english = [0, 0.4, 85.4, 999.4, 999.5, 1240, 9994, 9996, 12_440, 1_234_560].map((m) => distance(m, 'en'))
  expect(english).toEqual([
    '0 m', '0 m', '85 m', '999 m', '1.00 km', '1.24 km', '9.99 km', '10.0 km', '12.4 km', '1234.6 km',
  ])
  expect([distance(85, 'zh-CN'), distance(1240, 'zh-CN')]).toEqual(['85 米', '1.24 公里'])
})
