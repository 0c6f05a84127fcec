/** The order of the side list, and what it is narrowed to. */
import { LOW_BATTERY_PCT } from './status'
import { statusOf, type Tracked } from './roster'
import type { OfficerStatus } from '@/shared/types'

export type Order = 'attention' | 'name' | 'age'
export interface Listed {
  id: string
  tracked: Tracked
  status: OfficerStatus
  ageS: number | null
  lowBattery: boolean
}

export interface Narrowing {
  text: string
  statuses: ReadonlySet<OfficerStatus>
  /** The chosen areas and all below them; null is everywhere. */
  areaIds: ReadonlySet<string> | null
  order: Order
}

const URGENCY: Record<OfficerStatus, number> = { silent: 0, unlocated: 1, moving: 3, still: 3 }

const collator = new Intl.Collator(['zh-CN', 'en'], { numeric: true })

export function labelOf(tracked: Tracked): string {
  return tracked.officer.call_sign || tracked.officer.display_name
}

export function listed(tracked: Tracked, nowS: number): Listed {
  const battery = tracked.place?.batteryPct ?? null
  return {
    id: tracked.id,
    tracked,
    status: statusOf(tracked, nowS),
    ageS: tracked.place ? Math.max(0, nowS - tracked.place.fixedAtS) : null,
    lowBattery: battery !== null && battery <= LOW_BATTERY_PCT && !tracked.place?.charging,
  }
}

export function matches(tracked: Tracked, text: string): boolean {
  const wanted = text.trim().toLocaleLowerCase()
  if (!wanted) return true
  const { display_name: name, call_sign: callSign } = tracked.officer
  return name.toLocaleLowerCase().includes(wanted) || (callSign ?? '').toLocaleLowerCase().includes(wanted)
}

/** Silent first and the longest silence on top; the calm ones by name, so that rows do not jump while people walk. */
export function compare(order: Order): (a: Listed, b: Listed) => number {
  const byName = (a: Listed, b: Listed) =>
    collator.compare(labelOf(a.tracked), labelOf(b.tracked)) || (a.id < b.id ? -1 : 1)
  if (order === 'name') return byName
  if (order === 'age') return (a, b) => (b.ageS ?? Infinity) - (a.ageS ?? Infinity) || byName(a, b)
  const urgency = (row: Listed) => (row.lowBattery && URGENCY[row.status] === 3 ? 2 : URGENCY[row.status])
  return (a, b) => {
    const difference = urgency(a) - urgency(b)
    if (difference !== 0) return difference
    if (a.status === 'silent') return (b.ageS ?? 0) - (a.ageS ?? 0) || byName(a, b)
    return byName(a, b)
  }
}

export interface Arranged {
  rows: Listed[]
  /** How many there are of each status among those in the area and matching the text, whatever the status filter. */
  counts: Record<OfficerStatus, number>
  /** How many are on shift, whatever the list is narrowed to. */
  total: number
}

export function arrange(officers: Iterable<Tracked>, narrowing: Narrowing, nowS: number): Arranged {
  const rows: Listed[] = []
  const counts: Record<OfficerStatus, number> = { moving: 0, still: 0, silent: 0, unlocated: 0 }
  let total = 0
  for (const tracked of officers) {
    total += 1
    if (narrowing.areaIds && !narrowing.areaIds.has(tracked.officer.area.id)) continue
    if (!matches(tracked, narrowing.text)) continue
    const row = listed(tracked, nowS)
    counts[row.status] += 1
    if (narrowing.statuses.size > 0 && !narrowing.statuses.has(row.status)) continue
    rows.push(row)
  }
  rows.sort(compare(narrowing.order))
  return { rows, counts, total }
}
