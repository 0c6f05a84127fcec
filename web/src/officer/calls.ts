/**
 * What the desk asks of the officer himself: roll calls, spot checks, and texts to acknowledge.
 *
 * One tap answers, with the place that the recorder has; without a network it waits in the outbox of presses with its
 * own time. What the phone has is told to the desk, so that it sees whom a call has reached.
 */
import { computed, shallowRef } from 'vue'
import type { Api, Problem } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import type { Session } from '@/shared/session'
import { instant } from '@/shared/time'
import type { OfficerCall, Page } from '@/shared/types'
import type { Duty } from './duty'
import { keepList, recallList } from './kept'
import { createLane, newest, type Lane } from './lane'
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

const PATH = '/api/v1/officer/calls'
/** How long after its end a call is asked about once more: by then the server has closed it. */
const CLOSED_AFTER_MS = 4_000

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
  /** What the server has said last about a tap: taken, or refused (`problem`). */
  const outcome = shallowRef<{ call: OfficerCall | null; problem: Problem | null } | null>(null)
  let known = new Set<string>()
  let received = new Set<string>()

  const keptAt = () => `xungeng.officer.calls.${lane.owner.value}`
  const lane: Lane = createLane<OfficerCall>(session, api, changes, {
    lane: 'calls',
    now: around.now,
    arrive() {
      served.value = recallList(keptAt(), 'calls')
      // What was there before the app was closed is not news.
      known = new Set(served.value.map(({ id }) => id))
      received = new Set()
    },
    depart: () => show([]),
    refresh,
    take,
    async answered({ press, answer, problem }) {
      if (problem) await lane.dismiss(press)
      outcome.value = { call: (answer as OfficerCall | undefined) ?? null, problem: problem ?? null }
      if (problem) await refresh()
    },
    polled: () => duty.shift.value !== null,
    ends: () => served.value.filter(({ my_state }) => my_state === 'asked').map(({ ends_at }) => Date.parse(ends_at) + CLOSED_AFTER_MS),
  })

  const isPressed = ({ id }: OfficerCall) => lane.waiting.value.some(({ subject }) => subject === id)
  const shown = computed<ShownCall[]>(() => served.value.map((call) => ({ call, pending: isPressed(call) })).sort(inOrder))
  /** For the badge: what asks for a tap. */
  const open = computed(() => shown.value.filter(({ call, pending }) => !pending && call.my_state === 'asked').length)

  /** Here: stores the tap, which is sent at once or as soon as there is a network. */
  async function answer(call: OfficerCall): Promise<void> {
    if (!call.actions.includes('answer') || isPressed(call)) return
    // What a text is acknowledged with is no question of where one is.
    const place = call.kind === 'broadcast' ? null : placeOf(around.here())
    await lane.pressOnce({ subject: call.id, action: 'answer', path: `${PATH}/${call.id}/answer`, body: { place } })
  }

  function show(calls: OfficerCall[]): void {
    served.value = calls
    keepList(keptAt(), 'calls', calls)
  }
  function adopt(calls: OfficerCall[]): void {
    show(calls)
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
    await lane.ask(
      () => api.get<Page<OfficerCall>>(PATH, { limit: 50 }),
      // An answer may have been taken while the list was on its way.
      ({ items }) => adopt(newest(items, served.value)),
    )
  }

  changes.onChange((change) => {
    if (change === null || change.kind === 'call') void refresh()
  })
  duty.tellFirst(lane.flush)

  const { waiting, failure, begin, leave } = lane
  return { shown, open, waiting, failure, outcome, begin, leave, answer, refresh }
}
export type Calls = ReturnType<typeof createCalls>
