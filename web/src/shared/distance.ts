/** How far, as people say it: 85 m, 1.24 km, 12.4 km. */
import type { Locale } from './types'

export function distance(metres: number, locale: Locale): string {
  const zh = locale === 'zh-CN'
  const whole = Math.round(metres)
  if (whole < 1000) return `${whole} ${zh ? '米' : 'm'}`
  return `${(metres / 1000).toFixed(metres < 9995 ? 2 : 1)} ${zh ? '公里' : 'km'}`
}
