/**
 * What the desk asks of the officer himself: roll calls, spot checks, and texts to acknowledge.
 *
 * One tap answers, with the place that the recorder has; without a network it waits in the outbox of presses with its
 * own time. What the phone has is told to the desk, so that it sees whom a call has reached.
 */
import { computed, ref, shallowRef } from 'vue'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change, Changes } from '@/shared/changes'
import { Courier, Outbox, type Outcome, type Press } from '@/shared/outbox'
import type { Session } from '@/shared/session'
import { instant } from '@/shared/time'
import type { OfficerCall, Page } from '@/shared/types'
import type { Duty } from './duty'
import type { Here } from './recorder'

export interface ShownCall {
  call: OfficerCall
  /** It was pressed and the server has not answered yet. */
  pending: boolean
}
export interface CallsSurroundings {
  /** A call has come that was not there before. */
  alert: (call: OfficerCall) => void
  here: () => Here | null
  now: () => number
}

const LANE = 'calls'
const TICK_MS = 5_000
const POLL_MS = 15_000
/** With the live channel open the poll only makes sure. */
const POLL_CONNECTED_MS = 60_000
const PATH = '/api/v1/officer/calls'

/** Those that still wait for the officer, the one that ends first on top; what he has missed comes last. */
export function inOrder({ call: a }: ShownCall, { call: b }: ShownCall): number {
  return Number(a.my_state === 'missed') - Number(b.my_state === 'missed') || a.ends_at.localeCompare(b.ends_at) || a.id.localeCompare(b.id)
}

/** Where the phone is, as the API takes it; nothing where it does not know. */
export function placeOf(here: Here | null): Record<string, unknown> | null {
  return here && { lon: here.place[0], lat: here.place[1], accuracy_m: here.accuracy_m, fixed_at: instant(here.t) }
}

export function createCalls(session: Session, api: Api, duty: Duty, changes: Changes, around: CallsSurroundings) {
  const served = shallowRef<OfficerCall[]>([])
  const waiting = shallowRef<Press[]>([])
  const failure = ref<unknown>(null)
  /** What the server has said last about a tap: taken, or refused (`problem`). */
  const outcome = shallowRef<{ call: OfficerCall | null; problem: Problem | null } | null>(null)

  let owner: string | null = null
  let outbox: Outbox | null = null
  let courier: Courier | null = null
  let timer: ReturnType<typeof setInterval> | undefined
  let known = new Set<string>()
  let received = new Set<string>()
  let asked = 0
  let round = 0
  const pressing = new Set<string>()

  const shown = computed<ShownCall[]>(() =>
    served.value.map((call) => ({ call, pending: waiting.value.some(({ subject }) => subject === call.id) })).sort(inOrder),
  )
  /** For the badge: what asks for a tap. */
  const open = computed(() => shown.value.filter(({ call, pending }) => !pending && call.my_state === 'asked').length)

  const keptAt = () => `xungeng.officer.calls.${owner}`
  function keep(): void {
    try {
      if (served.value.length) localStorage.setItem(keptAt(), JSON.stringify({ v: 1, calls: served.value }))
      else localStorage.removeItem(keptAt())
    } catch {
      // Without storage they are there again with the network.
    }
  }
  function recall(): OfficerCall[] {
    try {
      const kept = JSON.parse(localStorage.getItem(keptAt()) ?? 'null') as { v?: number; calls?: OfficerCall[] } | null
      return kept?.v === 1 ? (kept.calls ?? []) : []
    } catch {
      return []
    }
  }

  async function begin(): Promise<void> {
    const user = session.user.value
    if (!user || owner === user.id) return
    if (owner) leave()
    owner = user.id
    served.value = recall()
    // What was there before the app was closed is not news.
    known = new Set(served.value.map(({ id }) => id))
    received = new Set()
    try {
      outbox = await Outbox.open('xungeng-officer-presses')
    } catch {
      outbox = null
    }
    if (owner !== user.id) return
    await recount()
    if (outbox) {
      courier = new Courier(outbox, user.id, LANE, send, afterAnswer)
      courier.start()
    }
    document.addEventListener('visibilitychange', onVisible)
    globalThis.addEventListener('online', onOnline)
    timer = setInterval(tick, TICK_MS)
    await refresh()
  }

  function leave(): void {
    courier?.stop()
    courier = null
    outbox?.close()
    outbox = null
    clearInterval(timer)
    document.removeEventListener('visibilitychange', onVisible)
    globalThis.removeEventListener('online', onOnline)
    served.value = []
    if (owner) keep()
    owner = null
    waiting.value = []
    failure.value = null
    round += 1
  }

  const send = (press: Press) => api.post<OfficerCall>(press.path, press.body, { idempotencyKey: press.key })

  async function afterAnswer({ press, answer, problem }: Outcome): Promise<void> {
    if (problem) await outbox?.settle(press.n)
    if (answer) take(answer as OfficerCall)
    await recount()
    outcome.value = { call: (answer as OfficerCall | undefined) ?? null, problem: problem ?? null }
    if (problem) await refresh()
  }

  /** Here: stores the tap, which is sent at once or as soon as there is a network. */
  async function answer(call: OfficerCall): Promise<void> {
    // A thumb may press twice before the screen has followed.
    if (!owner || pressing.has(call.id) || !call.actions.includes('answer') || waiting.value.some(({ subject }) => subject === call.id)) return
    pressing.add(call.id)
    try {
      // What a text is acknowledged with is no question of where one is.
      const place = call.kind === 'broadcast' ? null : placeOf(around.here())
      const path = `${PATH}/${call.id}/answer`
      if (!outbox || !courier) {
        const answered = await api.post<OfficerCall>(path, { place, device_at: instant(around.now()) })
        take(answered)
        outcome.value = { call: answered, problem: null }
        return
      }
      await outbox.add(owner, { lane: LANE, subject: call.id, action: 'answer', path, body: { place } }, around.now())
      await recount()
      courier.notice()
    } finally {
      pressing.delete(call.id)
    }
  }

  async function recount(): Promise<void> {
    if (outbox && owner) waiting.value = await outbox.waiting(owner, LANE)
  }

  function adopt(calls: OfficerCall[]): void {
    served.value = calls
    keep()
    for (const call of calls) {
      if (known.has(call.id)) continue
      known.add(call.id)
      if (call.my_state === 'asked') around.alert(call)
    }
    void tellReceived()
  }

  function take(call: OfficerCall): void {
    const others = served.value.filter(({ id }) => id !== call.id)
    adopt(call.actions.includes('answer') ? [...others, call] : others)
  }

  async function tellReceived(): Promise<void> {
    const ids = served.value.map(({ id }) => id).filter((id) => !received.has(id))
    if (!ids.length) return
    ids.forEach((id) => received.add(id))
    try {
      await api.post(`${PATH}/received`, { ids: ids.slice(0, 100) })
    } catch {
      // Said again with the next list; whoever answers has it in any case.
      ids.forEach((id) => received.delete(id))
    }
  }

  async function refresh(): Promise<void> {
    if (!owner) return
    const mine = owner
    const mineRound = ++round
    asked = around.now()
    try {
      const page = await api.get<Page<OfficerCall>>(PATH, { limit: 50 })
      if (owner !== mine || round !== mineRound) return
      // An answer may have been taken while the list was on its way.
      const newer = new Map(served.value.map((call) => [call.id, call]))
      adopt(page.items.map((call) => ((newer.get(call.id)?.version ?? 0) > call.version ? newer.get(call.id)! : call)))
      failure.value = null
    } catch (error) {
      if (owner !== mine || round !== mineRound) return
      failure.value = error
      if (!(error instanceof Offline || error instanceof Problem)) throw error
    }
  }

  function heard(change: Change | null): void {
    if (owner && (change === null || change.kind === 'call')) void refresh()
  }

  function tick(): void {
    if (waiting.value.length) void recount()
    if (document.visibilityState !== 'visible') return
    const due = around.now() - asked >= (changes.connected.value ? POLL_CONNECTED_MS : POLL_MS)
    if ((due && duty.shift.value !== null) || served.value.some(over)) void refresh()
  }
  /** What has ended is asked about once more. */
  function over({ my_state, ends_at }: OfficerCall): boolean {
    const at = Date.parse(ends_at) + 4_000
    return my_state === 'asked' && around.now() > at && asked < at
  }
  function onVisible(): void {
    if (document.visibilityState !== 'visible') return
    courier?.hurry()
    if (around.now() - asked > TICK_MS) void refresh()
  }
  function onOnline(): void {
    courier?.hurry()
    void refresh()
  }

  changes.onChange(heard)
  duty.tellFirst(async () => {
    courier?.hurry()
    await courier?.flush(8_000)
  })

  return { shown, open, waiting, failure, outcome, begin, leave, answer, refresh }
}
export type Calls = ReturnType<typeof createCalls>
