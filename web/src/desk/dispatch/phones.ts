/** The maker of a phone by its name, as browsers and tracker apps tell it: whose settings stop tracking in the background. */
export type Maker = 'huawei' | 'xiaomi' | 'oppo' | 'vivo' | 'samsung' | 'apple' | 'other'

/** Brands, and the model numbers that stand alone in what a browser says of a phone. */
const SIGNS: readonly [Exclude<Maker, 'other'>, RegExp][] = [
  ['apple', /iphone|ipad|\bios\b|苹果/i],
  ['huawei', /huawei|honor|华为|荣耀|鸿蒙|harmony|\b[A-Z]{3}-(?:AN|AL|TL|LX|L)\d{2}\w?\b/i],
  ['xiaomi', /xiaomi|redmi|poco|小米|红米|\bmi \d|\bmix \d|\bM\d{4}[A-Z]\w+|\b2\d{3,4}[0-9A-Z]{3,}C\b/i],
  ['oppo', /oppo|oneplus|realme|一加|真我|\b(?:CPH|RMX)\d{4}\b|\bP[A-Z]{2}[MT]\d{2}\b|\bP[GHJ][A-Z]\d{3}\b/i],
  ['vivo', /vivo|iqoo|\bV\d{4}[A-Z]{1,2}\b/i],
  ['samsung', /samsung|galaxy|三星|\bSM-[A-Z]\d{3,4}/i],
]

export function makerOf(device: string | null): Maker {
  if (!device) return 'other'
  return SIGNS.find(([, sign]) => sign.test(device))?.[0] ?? 'other'
}
