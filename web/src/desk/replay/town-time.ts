/** Between instants and what is typed into a date-and-time field, which is meant in the time of the town. */
import { townZone } from '@/shared/time'

function partsIn(zone: string | undefined, ms: number): Record<string, string> {
  const format = new Intl.DateTimeFormat('en-CA', {
    timeZone: zone,
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
  })
  return Object.fromEntries(format.formatToParts(ms).map((part) => [part.type, part.value]))
}

/** `2026-11-23T14:05`, as a field of the type datetime-local takes it. */
export function toField(ms: number, zone = townZone()): string {
  const { year, month, day, hour, minute } = partsIn(zone, ms)
  return `${year}-${month}-${day}T${hour}:${minute}`
}

/** The instant that a field means; NaN for an empty or unfinished one. In a repeated hour, the earlier one. */
export function fromField(text: string, zone = townZone()): number {
  const match = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2})/.exec(text)
  if (!match) return NaN
  const [year, month, day, hour, minute] = match.slice(1).map(Number) as [number, number, number, number, number]
  const asUtc = Date.UTC(year, month - 1, day, hour, minute)
  // The offset is that of the instant, which is what is looked for: two rounds settle it, also beside a clock change.
  let guess = asUtc
  for (let round = 0; round < 3; round += 1) {
    const seen = partsIn(zone, guess)
    const shown = Date.UTC(
      Number(seen.year),
      Number(seen.month) - 1,
      Number(seen.day),
      Number(seen.hour),
      Number(seen.minute),
    )
    const error = asUtc - shown
    if (error === 0) break
    guess += error
  }
  return guess
}

/** Midnight of the town at the beginning of the day of an instant. */
export function startOfDay(ms: number, zone = townZone()): number {
  return fromField(`${toField(ms, zone).slice(0, 10)}T00:00`, zone)
}
