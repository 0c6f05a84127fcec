/** Times as people of the town read them. The API speaks UTC; the town's zone comes from the installation. */
import type { Instant, Locale } from './types'

let zone: string | undefined

/** Set once from the installation; without it the zone of the browser is used. */
export function setTownZone(timeZone: string): void {
  zone = timeZone
}
export function townZone(): string | undefined {
  return zone
}

const formats = new Map<string, Intl.DateTimeFormat>()
function format(locale: Locale, kind: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${locale}|${zone ?? ''}|${kind}`
  let found = formats.get(key)
  if (!found) {
    found = new Intl.DateTimeFormat(locale === 'en' ? 'en-GB' : 'zh-CN', { ...options, timeZone: zone })
    formats.set(key, found)
  }
  return found
}

export type When = Instant | Date | number
export function dateOf(when: When): Date {
  return when instanceof Date ? when : new Date(when)
}

/** 14:05 */
export function clock(when: When, locale: Locale): string {
  return format(locale, 'clock', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).format(dateOf(when))
}
/** 14:05:09 */
export function clockSeconds(when: When, locale: Locale): string {
  return format(locale, 'seconds', {
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }).format(dateOf(when))
}
/** 11月23日 / 23 Nov */
export function day(when: When, locale: Locale): string {
  return format(locale, 'day', { month: 'short', day: 'numeric' }).format(dateOf(when))
}
/** 11月23日 14:05 / 23 Nov, 14:05 */
export function dayClock(when: When, locale: Locale): string {
  return format(locale, 'dayClock', {
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23',
  }).format(dateOf(when))
}
/** 2026/11/23 14:05:09, for records */
export function full(when: When, locale: Locale): string {
  return format(locale, 'full', {
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  }).format(dateOf(when))
}
/** The calendar day of the town, as YYYY-MM-DD. */
export function townDay(when: When): string {
  return new Intl.DateTimeFormat('en-CA', { timeZone: zone, year: 'numeric', month: '2-digit', day: '2-digit' }).format(
    dateOf(when),
  )
}

/** 3 小时 5 分 / 3 h 5 min; seconds only below one minute. */
export function duration(seconds: number, locale: Locale): string {
  const whole = Math.max(0, Math.floor(seconds))
  const hours = Math.floor(whole / 3600)
  const minutes = Math.floor((whole % 3600) / 60)
  const zh = locale === 'zh-CN'
  if (hours > 0) {
    const rest = minutes > 0 ? (zh ? ` ${minutes} 分` : ` ${minutes} min`) : ''
    return (zh ? `${hours} 小时` : `${hours} h`) + rest
  }
  if (minutes > 0) return zh ? `${minutes} 分钟` : `${minutes} min`
  return zh ? `${whole} 秒` : `${whole} s`
}

/** 5 秒前 / 5 s ago; for the age of a fix. */
export function ago(when: When, nowMs: number, locale: Locale): string {
  const seconds = Math.max(0, (nowMs - dateOf(when).getTime()) / 1000)
  if (seconds < 3) return locale === 'zh-CN' ? '刚刚' : 'just now'
  const text = duration(seconds, locale)
  return locale === 'zh-CN' ? `${text}前` : `${text} ago`
}

/** RFC 3339 with `Z`, as the API wants it. */
export function instant(when: Date | number): Instant {
  return dateOf(when).toISOString()
}
