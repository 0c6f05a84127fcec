/**
 * The officer's offers and tasks, and his presses on them.
 *
 * A press is stored, shown at once as pending, and sent in its turn; until the server has answered, the page shows what
 * it will lead to. From the answer on the server's own word counts. What it refuses is told in plain words, and the
 * task is read anew.
 */
import { computed, shallowRef, watch } from 'vue'
import { Problem, type Api } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import type { Press } from '@/shared/outbox'
import type { Session } from '@/shared/session'
import type { OfficerTask, Page } from '@/shared/types'
import type { Duty } from './duty'
import { keepList, recallList } from './kept'
import { createLane, newest, type Lane } from './lane'

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
const PATH = '/api/v1/officer/tasks'
/** How long after its time an offer is asked about once more: by then the server has let it lapse. */
const LAPSED_AFTER_MS = 2_000
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
  let alerted = new Set<string>()

  const keptAt = () => `xungeng.officer.tasks.${lane.owner.value}`
  const lane: Lane = createLane<OfficerTask>(session, api, changes, {
    lane: 'tasks',
    now: around.now,
    arrive() {
      served.value = recallList(keptAt(), 'tasks')
      lane.known.value = served.value.length > 0
      // What was there before the app was closed is not news.
      alerted = new Set(served.value.map(offerOf))
      changes.want('shift', duty.shift.value !== null)
    },
    depart() {
      changes.want('shift', false)
      show([])
    },
    refresh,
    take,
    async answered({ press, problem }) {
      if (problem) await read(press.subject).catch(() => undefined)
    },
    polled: () => duty.shift.value !== null || lane.waiting.value.length > 0,
    ends: () => offered(served.value).map(({ lapses_at }) => (lapses_at ? Date.parse(lapses_at) + LAPSED_AFTER_MS : Infinity)),
  })

  const shown = computed<ShownTask[]>(() =>
    served.value
      .map((task) => {
        const pending = lane.waiting.value.filter(({ subject }) => subject === task.id)
        return { task: withPresses(task, pending), pending }
      })
      .sort((a, b) => inOrder(a.task, b.task)),
  )
  const offers = computed(() => shown.value.filter(({ task }) => task.my_state === 'offered'))
  /** For the badge: what asks for an answer, and what the officer is on. */
  const open = computed(() => shown.value.filter(({ task }) => MINE.has(task.my_state)).length)
  const byId = (id: string) => shown.value.find(({ task }) => task.id === id) ?? null

  /** Stores a press; it is shown and sent from then on. */
  async function press({ id, number }: OfficerTask, action: string, body: Record<string, unknown> = {}): Promise<void> {
    if (!byId(id)?.task.actions.includes(action)) return
    await lane.pressOnce({ subject: id, action, about: String(number), path: `${PATH}/${id}/${action.replaceAll('_', '-')}`, body })
  }

  function show(tasks: OfficerTask[]): void {
    served.value = tasks
    keepList(keptAt(), 'tasks', tasks)
  }
  function adopt(tasks: OfficerTask[]): void {
    show(tasks)
    for (const task of offered(tasks)) {
      if (alerted.has(offerOf(task))) continue
      alerted.add(offerOf(task))
      around.alert(task)
    }
  }

  function take(task: OfficerTask): void {
    const before = served.value.find(({ id }) => id === task.id)
    if (before && before.version > task.version) return
    const others = served.value.filter(({ id }) => id !== task.id)
    adopt(MINE.has(task.my_state) ? [...others, task] : others)
  }

  /** Reads one task anew; one that is nobody's business of his any more goes off the list. */
  async function read(id: string): Promise<OfficerTask | null> {
    const mine = lane.owner.value
    try {
      const task = await api.get<OfficerTask>(`${PATH}/${id}`)
      if (lane.owner.value === mine) take(task)
      return task
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 404) throw error
      if (lane.owner.value === mine) adopt(served.value.filter((task) => task.id !== id))
      return null
    }
  }

  async function everyPage(): Promise<OfficerTask[]> {
    const tasks: OfficerTask[] = []
    let cursor: string | null = null
    do {
      const page: Page<OfficerTask> = await api.get(PATH, { cursor, limit: 50 })
      tasks.push(...page.items)
      cursor = page.next
    } while (cursor && tasks.length < 500)
    return tasks
  }
  async function refresh(): Promise<void> {
    // A press may have been answered while the list was on its way.
    await lane.ask(everyPage, (tasks) => adopt(newest(tasks, served.value)))
  }

  changes.onChange((change) => {
    if (change === null) return void refresh()
    if (!lane.owner.value || change.kind !== 'task') return
    const before = served.value.find(({ id }) => id === change.id)
    // Our own presses are told to us as well.
    if (before && before.version >= change.version) return
    read(change.id).catch(() => void refresh())
  })
  watch(
    () => duty.shift.value?.id ?? null,
    (shiftId, before) => {
      changes.want('shift', shiftId !== null)
      if (shiftId !== before) void refresh()
    },
  )
  duty.tellFirst(lane.flush)

  const { known, failure, readAt, waiting, refused, sending, stored, begin, leave, dismiss, hurry } = lane
  return { shown, offers, open, known, failure, readAt, waiting, refused, sending, stored, byId, begin, leave, press, dismiss, read, refresh, hurry }
}
export type Dispatch = ReturnType<typeof createDispatch>

const offered = (tasks: OfficerTask[]) => tasks.filter(({ my_state }) => my_state === 'offered')

/** A task that is offered again after a decline is an offer of its own. */
function offerOf({ id, offered_at }: OfficerTask): string {
  return `${id} ${offered_at}`
}
