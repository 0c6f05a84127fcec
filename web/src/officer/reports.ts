/**
 * What the officer finds and reports: stored on the phone as a press before it is sent, and sent once, with his own
 * clock; then where it stands, as the server says.
 *
 * The kinds that may be reported are the town's and no secret: they are kept on the phone, so that three taps are enough
 * without a network as well.
 */
import { computed, ref, shallowRef, watch } from 'vue'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change, Changes } from '@/shared/changes'
import { newId } from '@/shared/ids'
import { Courier, Outbox, type CourierState, type Outcome, type Press } from '@/shared/outbox'
import type { Session } from '@/shared/session'
import { instant } from '@/shared/time'
import type { LonLat, OfficerReport, OfficerTaskKind, Page } from '@/shared/types'

export type How = 'handled' | 'passed_on'
export interface Found {
  kind: OfficerTaskKind
  how: How
  note: string
  place: Spot | null
}
/** Where he stands, WGS-84, and when that was measured (milliseconds since the epoch, of the device). */
export interface Spot {
  place: LonLat
  accuracy_m: number | null
  t: number
}

const LANE = 'reports'
const PATH = '/api/v1/officer/reports'
const KINDS_AT = 'xungeng.officer.report-kinds'
const SHOWN = 30
const TICK_MS = 5_000

export function createReports(session: Session, api: Api, changes: Changes, now: () => number = Date.now) {
  const kinds = shallowRef<OfficerTaskKind[]>(recallKinds())
  const mine = shallowRef<OfficerReport[]>([])
  const next = ref<string | null>(null)
  const known = ref(false)
  const failure = shallowRef<unknown>(null)
  const waiting = shallowRef<Press[]>([])
  const refused = shallowRef<Press[]>([])
  const sending = shallowRef<CourierState>({ trouble: null, retryAt: null })
  let owner: string | null = null
  let outbox: Outbox | null = null
  let courier: Courier | null = null
  let timer: ReturnType<typeof setInterval> | undefined
  /** Counts the lists that were asked for: an older answer never replaces a newer one. */
  let round = 0

  async function begin(): Promise<void> {
    const user = session.user.value
    if (!user || owner === user.id) return
    if (owner) leave()
    owner = user.id
    // Without storage a report goes at once or not at all, and he is told which.
    const opened = await Outbox.open('xungeng-officer-presses').catch(() => null)
    if (owner !== user.id) return opened?.close()
    outbox = opened
    if (outbox) {
      courier = new Courier(outbox, user.id, LANE, send, afterAnswer)
      const sender = courier
      watch(sender.state, (state) => courier === sender && (sending.value = state), { immediate: true })
      courier.start()
    }
    globalThis.addEventListener('online', hurry)
    document.addEventListener('visibilitychange', onVisible)
    // Another tab of this phone may have sent it.
    timer = setInterval(() => waiting.value.length && void recount(), TICK_MS)
    await recount()
    await Promise.all([readKinds(), refresh()])
  }

  /** Whoever signs out leaves nothing of his behind on the phone; what is not sent waits for him. */
  function leave(): void {
    courier?.stop()
    outbox?.close()
    courier = outbox = owner = null
    clearInterval(timer)
    globalThis.removeEventListener('online', hurry)
    document.removeEventListener('visibilitychange', onVisible)
    mine.value = []
    waiting.value = refused.value = []
    next.value = failure.value = null
    known.value = false
    round += 1
  }

  const send = (press: Press) => api.post<OfficerReport>(press.path, press.body, { idempotencyKey: press.key })

  async function afterAnswer({ answer }: Outcome): Promise<void> {
    if (answer) take(answer as OfficerReport)
    await recount()
  }

  /** Stores what was found; it is on the phone when this returns, and sent from then on. */
  async function file({ kind, how, note, place }: Found): Promise<void> {
    if (!owner) return
    const body: Record<string, unknown> = { kind_id: kind.id, how }
    if (note.trim()) body.note = note.trim()
    if (place) {
      const { place: [lon, lat], accuracy_m, t } = place
      body.place = { lon, lat, accuracy_m, fixed_at: instant(t) }
    }
    if (!outbox || !courier) {
      take(await api.post<OfficerReport>(PATH, { ...body, device_at: instant(now()) }, { idempotencyKey: newId() }))
      return
    }
    await outbox.add(owner, { lane: LANE, subject: newId(), action: how, about: kind.id, path: PATH, body }, now())
    await recount()
    courier.notice()
  }

  /** The officer has read why a report was not taken. */
  async function dismiss(press: Press): Promise<void> {
    await outbox?.settle(press.n)
    await recount()
  }

  async function recount(): Promise<void> {
    if (!outbox || !owner) return
    const [sent, set] = await Promise.all([outbox.waiting(owner, LANE), outbox.refused(owner)])
    waiting.value = sent
    refused.value = set.filter(({ lane }) => lane === LANE)
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
      kinds.value = found.filter(({ reportable }) => reportable)
      localStorage.setItem(KINDS_AT, JSON.stringify({ v: 1, kinds: kinds.value }))
    } catch {
      // Those of the last time will do; with none the page says so.
    }
  }

  async function read(cursor: string | null): Promise<void> {
    if (!owner) return
    const whose = owner
    const mineRound = ++round
    failure.value = null
    try {
      const page: Page<OfficerReport> = await api.get(PATH, { cursor, limit: SHOWN })
      if (owner !== whose || round !== mineRound) return
      if (!cursor) mine.value = []
      page.items.forEach(take)
      next.value = page.next
      known.value = true
    } catch (error) {
      if (owner !== whose || round !== mineRound) return
      failure.value = error
      if (!(error instanceof Offline || error instanceof Problem)) throw error
    }
  }
  const refresh = () => read(null)

  function hurry(): void {
    courier?.hurry()
    if (!kinds.value.length) void readKinds()
  }
  function onVisible(): void {
    if (document.visibilityState === 'visible') hurry()
  }
  changes.onChange((change: Change | null) => {
    if (!owner || (change !== null && change.kind !== 'report')) return
    const before = change && mine.value.find(({ id }) => id === change.id)
    if (!before || before.version < change.version) void refresh()
  })

  return {
    kinds,
    mine,
    next,
    known,
    failure,
    waiting,
    refused,
    sending,
    /** What the phone shows as not yet sent, newest first. */
    unsent: computed(() => [...waiting.value].reverse()),
    begin,
    leave,
    file,
    dismiss,
    refresh,
    readKinds,
    more: () => read(next.value),
    hurry,
  }
}
export type Reports = ReturnType<typeof createReports>

function recallKinds(): OfficerTaskKind[] {
  try {
    const kept = JSON.parse(localStorage.getItem(KINDS_AT) ?? 'null') as { v?: number; kinds?: OfficerTaskKind[] } | null
    return kept?.v === 1 ? (kept.kinds ?? []) : []
  } catch {
    return []
  }
}
