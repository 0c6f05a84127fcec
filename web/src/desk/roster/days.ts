/** Days of the town as the API has them, `2026-12-01`, and weeks of them. */
import { toField } from '../replay/town-time'

const DAY_MS = 86_400_000

export function today(nowMs: number): string {
  return toField(nowMs).slice(0, 10)
}

/** So many days later; days have no hours, so no clock change moves them. */
export function plusDays(day: string, count: number): string {
  return new Date(Date.parse(`${day}T00:00:00Z`) + count * DAY_MS).toISOString().slice(0, 10)
}

/** The Monday of a day's week. */
export function mondayOf(day: string): string {
  const weekday = (new Date(`${day}T00:00:00Z`).getUTCDay() + 6) % 7
  return plusDays(day, -weekday)
}

export function weekOf(day: string): string[] {
  const first = mondayOf(day)
  return Array.from({ length: 7 }, (_, n) => plusDays(first, n))
}

/** `Mon 1 Dec`, `12月1日周二`. */
export function shown(day: string, locale: string): string {
  return new Intl.DateTimeFormat(locale, { timeZone: 'UTC', weekday: 'short', month: 'short', day: 'numeric' }).format(new Date(`${day}T00:00:00Z`))
}

interface OfSomebody {
  officer: { id: string; display_name: string }
  day: string
}

export interface Line<T> {
  id: string
  name: string
  /** By day of the week, in the order in which they begin. */
  days: Record<string, T[]>
}

/** A line for each officer, by name, with what is planned of him on each day. */
export function lines<T extends OfSomebody>(items: readonly T[], locale: string): Line<T>[] {
  const found = new Map<string, Line<T>>()
  for (const one of items) {
    const line = found.get(one.officer.id) ?? { id: one.officer.id, name: one.officer.display_name, days: {} }
    found.set(one.officer.id, line)
    ;(line.days[one.day] ??= []).push(one)
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name, locale))
}
