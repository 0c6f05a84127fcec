/**
 * What the officer finds and reports: stored on the phone as a press before it is sent, and sent once, with his own
 * clock; then where it stands, as the server says.
 *
 * The kinds that may be reported are the town's and no secret: they are kept on the phone, so that three taps are enough
 * without a network as well.
 */
import { computed, ref, shallowRef } from 'vue'
import type { Api } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import { newId } from '@/shared/ids'
import type { Session } from '@/shared/session'
import { instant } from '@/shared/time'
import type { LonLat, OfficerReport, OfficerTaskKind, Page } from '@/shared/types'
import { keepList, recallList } from './kept'
import { createLane, type Lane } from './lane'

export type How = 'handled' | 'passed_on'
export interface Found {
  kind: OfficerTaskKind
  how: How
  note: string
  place: Spot | null
  /** The ids of photos, from before and from after. */
  before?: readonly string[]
  after?: readonly string[]
}
/** Where he stands, WGS-84, and when that was measured (milliseconds since the epoch, of the device). */
export interface Spot {
  place: LonLat
  accuracy_m: number | null
  t: number
}

const PATH = '/api/v1/officer/reports'
const KINDS_AT = 'xungeng.officer.report-kinds'
const SHOWN = 30

export function createReports(session: Session, api: Api, changes: Changes, now: () => number = Date.now) {
  const kinds = shallowRef<OfficerTaskKind[]>(recallList(KINDS_AT, 'kinds'))
  const mine = shallowRef<OfficerReport[]>([])
  const next = ref<string | null>(null)
  let kindsRead = false

  const lane: Lane = createLane<OfficerReport>(session, api, changes, {
    lane: 'reports',
    now,
    depart() {
      mine.value = []
      next.value = null
      kindsRead = false
    },
    // The page of his reports reads them when it is opened: here only what could not be read yet.
    refresh: async () => void (await Promise.all([kindsRead || readKinds(), lane.known.value || refresh()])),
    take,
  })

  /** Stores what was found; it is on the phone when this returns, and sent from then on. */
  async function file({ kind, how, note, place, before = [], after = [] }: Found): Promise<void> {
    const body: Record<string, unknown> = { kind_id: kind.id, how }
    if (note.trim()) body.note = note.trim()
    if (before.length) body.evidence_before = [...before]
    if (after.length) body.evidence_after = [...after]
    if (place) {
      const { place: [lon, lat], accuracy_m, t } = place
      body.place = { lon, lat, accuracy_m, fixed_at: instant(t) }
    }
    await lane.press({ subject: newId(), action: how, about: kind.id, path: PATH, body })
  }

  function take(report: OfficerReport): void {
    const before = mine.value.find(({ id }) => id === report.id)
    if (before && before.version > report.version) return
    const others = mine.value.filter(({ id }) => id !== report.id)
    mine.value = [...others, report].sort((a, b) => b.filed_at.localeCompare(a.filed_at) || b.number - a.number)
  }

  async function readKinds(): Promise<void> {
    try {
      const found: OfficerTaskKind[] = []
      let cursor: string | null = null
      do {
        const page: Page<OfficerTaskKind> = await api.get('/api/v1/officer/task-kinds', { cursor, limit: 200 })
        found.push(...page.items)
        cursor = page.next
      } while (cursor)
      kindsRead = true
      kinds.value = found.filter(({ reportable }) => reportable)
      keepList(KINDS_AT, 'kinds', kinds.value)
    } catch {
      // Those of the last time will do; with none the page says so.
    }
  }

  async function read(cursor: string | null): Promise<void> {
    await lane.ask(
      () => api.get<Page<OfficerReport>>(PATH, { cursor, limit: SHOWN }),
      (page) => {
        if (!cursor) mine.value = []
        page.items.forEach(take)
        next.value = page.next
      },
    )
  }
  const refresh = () => read(null)

  changes.onChange((change) => {
    if (change !== null && change.kind !== 'report') return
    const before = change && mine.value.find(({ id }) => id === change.id)
    if (!before || before.version < change.version) void refresh()
  })

  /** What the phone shows as not yet sent, newest first. */
  const unsent = computed(() => [...lane.waiting.value].reverse())
  const { known, failure, waiting, refused, sending, begin, leave, dismiss, hurry } = lane
  return { kinds, mine, next, known, failure, waiting, refused, sending, unsent, begin, leave, file, dismiss, refresh, readKinds, more: () => read(next.value), hurry }
}
export type Reports = ReturnType<typeof createReports>
