/**
 * The officer's offers and tasks, and his presses on them.
 *
 * A press is stored, shown at once as pending, and sent in its turn; until the server has answered, the page shows what
 * it will lead to. From the answer on the server's own word counts. What it refuses is told in plain words, and the
 * task is read anew.
 */
import { computed, ref, shallowRef, watch } from 'vue'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change, Changes } from '@/shared/changes'
import { Courier, Outbox, type CourierState, type Outcome, type Press } from '@/shared/outbox'
import type { Session } from '@/shared/session'
import type { OfficerTask, Page } from '@/shared/types'
import type { Duty } from './duty'

export type MyState = OfficerTask['my_state']
export interface ShownTask {
  task: OfficerTask
  /** What was pressed and is not answered yet, in order. */
  pending: Press[]
}

/** What a press leads to while the server has not answered it: the table of shares, as far as officers press. */
const LEADS_TO: Record<string, { my_state: MyState; actions: string[] }> = {
  accept: { my_state: 'accepted', actions: ['depart', 'arrive', 'hand_back'] },
  depart: { my_state: 'en_route', actions: ['arrive', 'hand_back'] },
  arrive: { my_state: 'on_site', actions: ['resolve', 'hand_back'] },
  decline: { my_state: 'declined', actions: [] },
  resolve: { my_state: 'done', actions: [] },
  hand_back: { my_state: 'handed_back', actions: [] },
}
const MINE: ReadonlySet<MyState> = new Set<MyState>(['offered', 'accepted', 'en_route', 'on_site', 'suspended'])
const LANE = 'tasks'
const TICK_MS = 5_000
const POLL_MS = 15_000
/** With the live channel open the poll only makes sure. */
const POLL_CONNECTED_MS = 60_000
const URGENCY = { critical: 0, high: 1, normal: 2, low: 3 } as const

export function withPresses(task: OfficerTask, pending: Press[]): OfficerTask {
  let shown = task
  for (const { action, pressed_at } of pending) {
    const after = LEADS_TO[action]
    if (!after) continue
    shown = { ...shown, ...after, suggests: after.actions.includes(shown.suggests ?? '') ? shown.suggests : null }
    if (action === 'accept') shown.accepted_at = pressed_at
    if (action === 'depart') shown.departed_at = pressed_at
    if (action === 'arrive') shown.arrived_at = pressed_at
  }
  return shown
}

/** Offers first, the one that lapses soonest on top; then what is urgent, then what is due. */
export function inOrder(a: OfficerTask, b: OfficerTask): number {
  const offered = Number(b.my_state === 'offered') - Number(a.my_state === 'offered')
  if (offered) return offered
  const urgency = URGENCY[a.priority] - URGENCY[b.priority]
  if (urgency) return urgency
  const due = (task: OfficerTask) => (task.my_state === 'offered' ? task.lapses_at : (task.arrive_due_at ?? task.complete_due_at)) ?? '9'
  return due(a).localeCompare(due(b)) || a.number - b.number
}

export interface DispatchSurroundings {
  /** An offer has come that was not there before. */
  alert: (task: OfficerTask) => void
  now: () => number
}

export function createDispatch(session: Session, api: Api, duty: Duty, changes: Changes, around: DispatchSurroundings) {
  /** As the server has last said. */
  const served = shallowRef<OfficerTask[]>([])
  const known = ref(false)
  const failure = shallowRef<unknown>(null)
  const readAt = ref<number | null>(null)
  const waiting = shallowRef<Press[]>([])
  const refused = shallowRef<Press[]>([])
  const sending = shallowRef<CourierState>({ trouble: null, retryAt: null })
  const stored = ref(true)

  let owner: string | null = null
  let outbox: Outbox | null = null
  let courier: Courier | null = null
  let timer: ReturnType<typeof setInterval> | undefined
  let alerted = new Set<string>()
  let asked = 0
  /** Counts the lists that were asked for: an older answer never replaces a newer one. */
  let round = 0

  const shown = computed<ShownTask[]>(() =>
    served.value
      .map((task) => {
        const pending = waiting.value.filter(({ subject }) => subject === task.id)
        return { task: withPresses(task, pending), pending }
      })
      .sort((a, b) => inOrder(a.task, b.task)),
  )
  const offers = computed(() => shown.value.filter(({ task }) => task.my_state === 'offered'))
  /** For the badge: what asks for an answer, and what the officer is on. */
  const open = computed(() => shown.value.filter(({ task }) => MINE.has(task.my_state)).length)
  const byId = (id: string) => shown.value.find(({ task }) => task.id === id) ?? null

  const keptAt = () => `xungeng.officer.tasks.${owner}`
  function keep(): void {
    try {
      if (served.value.length) localStorage.setItem(keptAt(), JSON.stringify({ v: 1, tasks: served.value }))
      else localStorage.removeItem(keptAt())
    } catch {
      // Without storage the tasks are there again with the network.
    }
  }
  function recall(): OfficerTask[] {
    try {
      const kept = JSON.parse(localStorage.getItem(keptAt()) ?? 'null') as { v?: number; tasks?: OfficerTask[] } | null
      return kept?.v === 1 ? (kept.tasks ?? []) : []
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
    known.value = served.value.length > 0
    // What was there before the app was closed is not news.
    alerted = new Set(served.value.map(offerOf))
    try {
      outbox = await Outbox.open('xungeng-officer-presses')
      stored.value = true
    } catch {
      stored.value = false
    }
    if (owner !== user.id) return
    await recount()
    if (outbox) {
      courier = new Courier(outbox, user.id, LANE, send, afterAnswer)
      const mine = courier
      watch(mine.state, (state) => courier === mine && (sending.value = state), { immediate: true })
      courier.start()
    }
    document.addEventListener('visibilitychange', onVisible)
    globalThis.addEventListener('online', onOnline)
    timer = setInterval(tick, TICK_MS)
    changes.want('shift', duty.shift.value !== null)
    await refresh()
  }

  /** Whoever signs out leaves no tasks behind on the phone; presses that are not sent wait for him. */
  function leave(): void {
    courier?.stop()
    courier = null
    outbox?.close()
    outbox = null
    clearInterval(timer)
    document.removeEventListener('visibilitychange', onVisible)
    globalThis.removeEventListener('online', onOnline)
    changes.want('shift', false)
    served.value = []
    if (owner) keep()
    owner = null
    known.value = false
    failure.value = null
    waiting.value = []
    refused.value = []
    round += 1
  }

  const send = (press: Press) => api.post<OfficerTask>(press.path, press.body, { idempotencyKey: press.key })

  async function afterAnswer({ press, answer, problem }: Outcome): Promise<void> {
    if (answer) take(answer as OfficerTask)
    await recount()
    if (problem) await read(press.subject).catch(() => undefined)
  }

  /** Stores a press; it is shown and sent from then on. */
  async function press(task: OfficerTask, action: string, body: Record<string, unknown> = {}): Promise<void> {
    // A thumb may press twice before the screen has followed.
    if (!owner || pressing.has(task.id) || !byId(task.id)?.task.actions.includes(action)) return
    pressing.add(task.id)
    try {
      await keepAndSend(owner, task, action, body)
    } finally {
      pressing.delete(task.id)
    }
  }
  const pressing = new Set<string>()

  async function keepAndSend(owner: string, task: OfficerTask, action: string, body: Record<string, unknown>): Promise<void> {
    const path = `/api/v1/officer/tasks/${task.id}/${action.replaceAll('_', '-')}`
    if (!outbox || !courier) {
      take(await api.post<OfficerTask>(path, { ...body, device_at: new Date(around.now()).toISOString() }))
      return
    }
    await outbox.add(owner, { lane: LANE, subject: task.id, action, about: String(task.number), path, body }, around.now())
    await recount()
    courier.notice()
  }

  /** The officer has read why a press was not taken. */
  async function dismiss(one: Press): Promise<void> {
    await outbox?.settle(one.n)
    await recount()
  }

  async function recount(): Promise<void> {
    if (!outbox || !owner) return
    const [sent, set] = await Promise.all([outbox.waiting(owner, LANE), outbox.refused(owner)])
    waiting.value = sent
    refused.value = set.filter(({ lane }) => lane === LANE)
  }

  function adopt(tasks: OfficerTask[]): void {
    served.value = tasks
    keep()
    for (const task of tasks) {
      if (task.my_state !== 'offered' || alerted.has(offerOf(task))) continue
      alerted.add(offerOf(task))
      around.alert(task)
    }
  }
  /** A task that is offered again after a decline is an offer of its own. */
  function offerOf({ id, offered_at }: OfficerTask): string {
    return `${id} ${offered_at}`
  }

  function take(task: OfficerTask): void {
    const before = served.value.find(({ id }) => id === task.id)
    if (before && before.version > task.version) return
    const others = served.value.filter(({ id }) => id !== task.id)
    adopt(MINE.has(task.my_state) ? [...others, task] : others)
  }

  /** Reads one task anew; one that is nobody's business of his any more goes off the list. */
  async function read(id: string): Promise<OfficerTask | null> {
    const mine = owner
    try {
      const task = await api.get<OfficerTask>(`/api/v1/officer/tasks/${id}`)
      if (owner === mine) take(task)
      return task
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error
      if (owner === mine) adopt(served.value.filter((task) => task.id !== id))
      return null
    }
  }

  async function refresh(): Promise<void> {
    if (!owner) return
    const mine = owner
    const mineRound = ++round
    asked = around.now()
    try {
      const tasks: OfficerTask[] = []
      let cursor: string | null = null
      do {
        const page: Page<OfficerTask> = await api.get('/api/v1/officer/tasks', { cursor, limit: 50 })
        tasks.push(...page.items)
        cursor = page.next
      } while (cursor && tasks.length < 500)
      if (owner !== mine || round !== mineRound) return
      // A press may have been answered while the list was on its way.
      const newer = new Map(served.value.map((task) => [task.id, task]))
      adopt(tasks.map((task) => ((newer.get(task.id)?.version ?? 0) > task.version ? newer.get(task.id)! : task)))
      known.value = true
      failure.value = null
      readAt.value = around.now()
    } catch (error) {
      if (owner !== mine || round !== mineRound) return
      failure.value = error
      if (!(error instanceof Offline || error instanceof Problem)) throw error
    }
  }

  function heard(change: Change | null): void {
    if (!owner) return
    if (change === null) return void refresh()
    if (change.kind !== 'task') return
    const before = served.value.find(({ id }) => id === change.id)
    // Our own presses are told to us as well.
    if (before && before.version >= change.version) return
    read(change.id).catch(() => void refresh())
  }

  function tick(): void {
    // Another tab of this phone may have sent it.
    if (waiting.value.length) void recount()
    const due = around.now() - asked >= (changes.connected.value ? POLL_CONNECTED_MS : POLL_MS)
    const busy = duty.shift.value !== null || waiting.value.length > 0
    if (due && busy && document.visibilityState === 'visible') void refresh()
    else if (document.visibilityState === 'visible' && served.value.some(lapsed)) void refresh()
  }
  /** An offer whose time is over is asked about once more. */
  function lapsed({ my_state, lapses_at }: OfficerTask): boolean {
    const at = lapses_at ? Date.parse(lapses_at) : Infinity
    return my_state === 'offered' && around.now() > at + 2_000 && asked < at + 2_000
  }
  function onVisible(): void {
    if (document.visibilityState !== 'visible') return
    void recount()
    courier?.hurry()
    if (around.now() - asked > TICK_MS) void refresh()
  }
  function onOnline(): void {
    courier?.hurry()
    void refresh()
  }

  changes.onChange(heard)
  watch(
    () => duty.shift.value?.id ?? null,
    (shiftId, before) => {
      changes.want('shift', shiftId !== null)
      if (owner && shiftId !== before) void refresh()
    },
  )
  duty.tellFirst(async () => {
    courier?.hurry()
    await courier?.flush(8_000)
  })

  return {
    shown,
    offers,
    open,
    known,
    failure,
    readAt,
    waiting,
    refused,
    sending,
    stored,
    byId,
    begin,
    leave,
    press,
    dismiss,
    read,
    refresh,
    hurry: () => courier?.hurry(),
  }
}
export type Dispatch = ReturnType<typeof createDispatch>
