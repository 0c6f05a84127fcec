import { describe, expect, it } from 'vitest'
import { makerOf } from '@/desk/dispatch/phones'

describe('the maker of a phone', () => {
  it.each([
    ['iPhone 15 · Safari', 'apple'],
    ['HUAWEI Mate 60 Pro', 'huawei'],
    ['王强的荣耀手机', 'huawei'],
    ['ALN-AL00', 'huawei'],
    ['Redmi Note 12', 'xiaomi'],
    ['23127PN0CC', 'xiaomi'],
    ['小米 14', 'xiaomi'],
    ['OnePlus 12', 'oppo'],
    ['CPH2437', 'oppo'],
    ['PJD110', 'oppo'],
    ['vivo X100', 'vivo'],
    ['V2309A', 'vivo'],
    ['SM-S9280', 'samsung'],
    ['Linux · Chrome', 'other'],
    [null, 'other'],
  ])('of %s is %s', (device, maker) => expect(makerOf(device)).toBe(maker))
})
