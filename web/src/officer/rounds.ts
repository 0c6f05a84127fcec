/**
 * The officer's patrols: what he is on, what he may begin, and what became of each point.
 *
 * All presses go one after the other in the order of the phone, whatever patrol they are about: the next round cannot
 * begin before the server knows that the last one is over. Until it has answered, the page shows what they lead to.
 */
import { computed, shallowRef, watch } from 'vue'
import { Problem, type Api } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import { newId } from '@/shared/ids'
import type { Press } from '@/shared/outbox'
import type { Session } from '@/shared/session'
import type { OfficerPatrol, OfficerPatrolPoint, OfficerRoute, OfficerVisit, Page } from '@/shared/types'
import { placeOf } from './calls'
import type { Duty } from './duty'
import { metresBetween } from './ground'
import { keepList, recallList } from './kept'
import { createLane, newest, type Lane } from './lane'
import { follow, type Stay } from './presence'
import type { Here } from './recorder'
import type { Code } from './scan'

export interface ShownPatrol {
  patrol: OfficerPatrol
  /** What was pressed about it and is not answered yet, in order. */
  pending: Press[]
}
type State = OfficerPatrol['state']

const PATROLS = '/api/v1/officer/patrols'
const ROUTES = '/api/v1/officer/routes'
const VISITS = '/api/v1/officer/visits'
/** Every press of this lane: the courier sends those of one subject one after the other. */
const SUBJECT = 'rounds'
/** So long before its time a planned patrol may be begun. The server says no to what is earlier. */
const EARLY_MS = 15 * 60_000

const AT_POINTS = ['skip', 'answer']
/** What a press leads to while the server has not answered it. */
const LEADS_TO: Record<string, { state: State; actions: string[] }> = {
  set_out: { state: 'active', actions: ['pause', 'finish', 'end_early', ...AT_POINTS] },
  start: { state: 'active', actions: ['pause', 'finish', 'end_early', ...AT_POINTS] },
  resume: { state: 'active', actions: ['pause', 'finish', 'end_early', ...AT_POINTS] },
  pause: { state: 'paused', actions: ['resume', 'finish', 'end_early', ...AT_POINTS] },
  finish: { state: 'completed', actions: [...AT_POINTS, 'explain'] },
  end_early: { state: 'ended_early', actions: [...AT_POINTS, 'explain'] },
}

/** Which patrol a press is about, and which of its points. A scan is about none until the server has answered it. */
export function aboutOf({ action, path, body }: Pick<Press, 'action' | 'path' | 'body'>): { patrolId: string; checkpointId: string | null } | null {
  if (action === 'set_out') return { patrolId: String(body.patrol_id), checkpointId: null }
  const [, patrolId, checkpointId] = /^\/api\/v1\/officer\/patrols\/([^/]+)(?:\/points\/([^/]+))?\/[a-z-]+$/.exec(path) ?? []
  return patrolId ? { patrolId, checkpointId: checkpointId ?? null } : null
}

export function withPresses(patrol: OfficerPatrol, pending: Press[]): OfficerPatrol {
  let shown = patrol
  for (const press of pending) {
    const { action, body, pressed_at } = press
    shown = { ...shown, ...LEADS_TO[action] }
    if (action === 'start') shown.began_at = pressed_at
    if (action === 'finish' || action === 'end_early') shown.ended_at = pressed_at
    if (action === 'end_early') shown.reason = String(body.reason)
    if (action === 'explain') {
      const text = String(body.text)
      if (body.deviation_id) shown.deviations = shown.deviations.map((one) => (one.id === body.deviation_id ? { ...one, explanation: text } : one))
      else shown.explanation = text
    }
    const checkpointId = aboutOf(press)?.checkpointId
    if (checkpointId) shown.points = shown.points.map((point) => (point.checkpoint.id === checkpointId ? withPress(point, press) : point))
  }
  return shown
}
/** What an older release has kept on the phone has no photos. */
export const photosOf = (point: OfficerPatrolPoint): string[] => (point as Partial<OfficerPatrolPoint>).evidence_ids ?? []
/** The photos that an answer names: those beside the questions, and those that questions ask for. */
function photosIn({ answers, evidence_ids }: Press['body']): string[] {
  const shown = Object.values((answers ?? {}) as Record<string, unknown>).filter(Array.isArray) as string[][]
  return [...shown.flat(), ...((evidence_ids ?? []) as string[])]
}
function withPress(point: OfficerPatrolPoint, { action, body, pressed_at }: Press): OfficerPatrolPoint {
  if (action === 'answer') {
    const answers = body.answers as OfficerPatrolPoint['answers']
    return { ...point, answers, answered_at: pressed_at, evidence_ids: [...new Set([...photosOf(point), ...photosIn(body)])] }
  }
  // A visit counts more than words.
  return { ...point, state: point.state === 'visited' ? 'visited' : 'skipped', reason: String(body.reason), skipped_at: pressed_at }
}

/** A round without a plan as it begins on the phone; its number comes with the answer. */
export function setOutOn(route: OfficerRoute, patrolId: string, at: string): OfficerPatrol {
  return {
    id: patrolId, number: 0, version: 0, ...LEADS_TO.set_out!, route: { id: route.id, number: route.number, name: route.name },
    area: route.area, sequence: route.sequence, allowed_s: route.allowed_s, corridor_m: null, line: route.line, is_planned: false,
    scheduled_at: at, start_by: null, began_at: at, ended_at: null, late_at: null, overdue_at: null, missed_at: null, reason: null,
    explanation: null, deviations: [],
    points: route.checkpoints.map((checkpoint, position) => ({
      position, checkpoint, state: 'pending', visited_at: null, answers: null, answered_at: null, evidence_ids: [], reason: null, skipped_at: null,
    })),
  }
}

export const isGoing = ({ state }: OfficerPatrol) => state === 'active' || state === 'paused'
export const isPlanned = ({ state }: OfficerPatrol) => state === 'planned'

/** When it may be begun, by its own times. */
export function windowOf({ scheduled_at, start_by }: OfficerPatrol): { from: number; until: number } {
  return { from: Date.parse(scheduled_at) - EARLY_MS, until: start_by ? Date.parse(start_by) : Infinity }
}
export function mayBegin(patrol: OfficerPatrol, now: number): boolean {
  const { from, until } = windowOf(patrol)
  return patrol.actions.includes('start') && now >= from && now <= until
}

/** What of a patrol that is over nobody has explained yet: itself, and each time off its corridor. */
export function unexplained(patrol: OfficerPatrol): { deviationId: string | null }[] {
  if (!patrol.actions.includes('explain')) return []
  const over = !isGoing(patrol)
  const lacking = over && (patrol.missed_at !== null || patrol.state === 'ended_early' || patrol.points.some(({ state }) => state === 'pending'))
  const late = patrol.late_at !== null || patrol.overdue_at !== null
  return [
    ...((lacking || late) && !patrol.explanation ? [{ deviationId: null }] : []),
    ...patrol.deviations.filter(({ explanation }) => !explanation).map(({ id }) => ({ deviationId: id })),
  ]
}

/** The point to go to: the next one of an order that is kept, the nearest one where none is. */
export function nextPoint({ sequence, points }: OfficerPatrol, here: Pick<Here, 'place'> | null): OfficerPatrolPoint | null {
  const open = points.filter(({ state }) => state === 'pending')
  if (sequence !== 'any' || !here) return open[0] ?? null
  const metres = ({ checkpoint }: OfficerPatrolPoint) => metresBetween(here.place, checkpoint.place as [number, number])
  return [...open].sort((a, b) => metres(a) - metres(b))[0] ?? null
}

export function progressOf({ points }: OfficerPatrol): { visited: number; skipped: number; all: number } {
  const count = (wanted: OfficerPatrolPoint['state']) => points.filter(({ state }) => state === wanted).length
  return { visited: count('visited'), skipped: count('skipped'), all: points.length }
}

export interface RoundsSurroundings {
  here: () => Here | null
  now: () => number
}

export function createRounds(session: Session, api: Api, duty: Duty, changes: Changes, around: RoundsSurroundings) {
  /** As the server has last said. */
  const served = shallowRef<OfficerPatrol[]>([])
  const routes = shallowRef<OfficerRoute[]>([])
  /** The last scan that the server has taken, until it has been read. */
  const scanned = shallowRef<OfficerVisit | null>(null)
  const stay = shallowRef<Stay | null>(null)

  const keptAt = (what: string) => `xungeng.officer.${what}.${lane.owner.value}`
  const lane: Lane = createLane<OfficerPatrol | OfficerVisit>(session, api, changes, {
    lane: 'rounds',
    now: around.now,
    arrive() {
      served.value = recallList(keptAt('patrols'), 'patrols')
      routes.value = recallList(keptAt('routes'), 'routes')
      lane.known.value = served.value.length > 0 || routes.value.length > 0
      void readRoutes()
    },
    depart() {
      show([])
      routes.value = []
      keepList(keptAt('routes'), 'routes', [])
      scanned.value = stay.value = null
    },
    refresh,
    take(answer) {
      if ('method' in answer) scanned.value = answer
      else take(answer)
    },
    async answered({ press, problem }) {
      // What a scan was good for stands in the patrol.
      if (problem || press.action === 'scan') await refresh()
    },
    polled: () => duty.shift.value !== null || lane.waiting.value.length > 0,
  })

  const shown = computed<ShownPatrol[]>(() => {
    const waiting = lane.waiting.value
    const begun = waiting
      .filter(({ action, body }) => action === 'set_out' && !served.value.some(({ id }) => id === body.patrol_id))
      .flatMap(({ body, pressed_at }) => {
        const route = routes.value.find(({ id }) => id === body.route_id)
        return route ? [setOutOn(route, String(body.patrol_id), pressed_at)] : []
      })
    return [...begun, ...served.value].map((patrol) => {
      const pending = waiting.filter((press) => aboutOf(press)?.patrolId === patrol.id)
      return { patrol: withPresses(patrol, pending), pending }
    })
  })
  const byId = (id: string) => shown.value.find(({ patrol }) => patrol.id === id) ?? null
  /** The patrol that one is on. */
  const going = computed(() => shown.value.find(({ patrol }) => isGoing(patrol)) ?? null)
  const planned = computed(() =>
    shown.value.filter(({ patrol }) => isPlanned(patrol)).sort((a, b) => a.patrol.scheduled_at.localeCompare(b.patrol.scheduled_at)),
  )
  const over = computed(() => shown.value.filter(({ patrol }) => !isGoing(patrol) && !isPlanned(patrol)))
  const waitingScans = computed(() => lane.waiting.value.filter(({ action }) => action === 'scan'))

  /** Stores a press about a patrol; it is shown and sent from then on. */
  async function press({ id, number }: OfficerPatrol, action: string, body: Record<string, unknown> = {}): Promise<void> {
    if (!byId(id)?.patrol.actions.includes(action)) return
    await lane.pressOnce({ subject: SUBJECT, action, about: number ? String(number) : undefined, path: `${PATROLS}/${id}/${action.replaceAll('_', '-')}`, body })
  }
  async function pressAt({ id, number }: OfficerPatrol, checkpointId: string, action: 'skip' | 'answer', body: Record<string, unknown>): Promise<void> {
    if (!byId(id)?.patrol.actions.includes(action)) return
    await lane.pressOnce({ subject: SUBJECT, action, about: number ? String(number) : undefined, path: `${PATROLS}/${id}/points/${checkpointId}/${action}`, body })
  }
  /** Begins a round without a plan. The phone names it, so that all that follows can be about it. */
  async function setOut({ id }: OfficerRoute): Promise<string> {
    const patrolId = newId()
    await lane.pressOnce({ subject: SUBJECT, action: 'set_out', path: PATROLS, body: { route_id: id, patrol_id: patrolId } })
    return patrolId
  }
  /** A label or a tag was read. `at` is the code of the checkpoint that it was read for, as far as the phone knows. */
  async function scan(code: Code, at: string | null): Promise<void> {
    // Off duty nobody is told where the phone was last.
    const body = { ...code, place: duty.shift.value ? placeOf(around.here()) : null, device_id: session.deviceId }
    await lane.pressOnce({ subject: SUBJECT, action: 'scan', about: at ?? undefined, path: VISITS, body })
  }

  function show(patrols: OfficerPatrol[]): void {
    served.value = patrols
    keepList(keptAt('patrols'), 'patrols', patrols)
  }
  function take(patrol: OfficerPatrol): void {
    const before = served.value.find(({ id }) => id === patrol.id)
    if (before && before.version > patrol.version) return
    show(before ? served.value.map((one) => (one.id === patrol.id ? patrol : one)) : [patrol, ...served.value])
  }

  async function everyPage<T>(path: string): Promise<T[]> {
    const found: T[] = []
    let cursor: string | null = null
    do {
      const page: Page<T> = await api.get(path, { cursor, limit: 50 })
      found.push(...page.items)
      cursor = page.next
    } while (cursor && found.length < 500)
    return found
  }
  async function refresh(): Promise<void> {
    // A press may have been answered while the list was on its way.
    await lane.ask(() => everyPage<OfficerPatrol>(PATROLS), (patrols) => show(newest(patrols, served.value)))
  }
  /** Routes change seldom: they are read when somebody looks. What was read before counts until then. */
  async function readRoutes(): Promise<void> {
    const mine = lane.owner.value
    const found = await everyPage<OfficerRoute>(ROUTES).catch(() => null)
    if (!found || !mine || lane.owner.value !== mine) return
    routes.value = found
    keepList(keptAt('routes'), 'routes', found)
  }
  /** Reads one patrol anew; null where it is none of his. */
  async function read(id: string): Promise<OfficerPatrol | null> {
    const mine = lane.owner.value
    try {
      const patrol = await api.get<OfficerPatrol>(`${PATROLS}/${id}`)
      if (lane.owner.value === mine) take(patrol)
      return patrol
    } catch (error) {
      if (error instanceof Problem && error.status === 404) return null
      throw error
    }
  }

  changes.onChange((change) => {
    if (change === null) return void refresh()
    if (!lane.owner.value || change.kind !== 'patrol') return
    const before = served.value.find(({ id }) => id === change.id)
    // Our own presses are told to us as well.
    if (before && before.version >= change.version) return
    read(change.id).catch(() => void refresh())
  })
  watch(
    () => duty.shift.value?.id ?? null,
    (shiftId, before) => shiftId !== before && void refresh(),
  )
  watch(around.here, (here) => {
    const points = going.value?.patrol.points ?? []
    stay.value = here && points.length ? follow(stay.value, here, points.map(({ checkpoint }) => checkpoint)) : null
  })
  duty.tellFirst(lane.flush)

  const { known, failure, readAt, waiting, refused, sending, stored, begin, leave, dismiss, hurry } = lane
  return {
    shown, going, planned, over, routes, waitingScans, scanned, stay, known, failure, readAt, waiting, refused, sending, stored,
    byId, begin, leave, press, pressAt, setOut, scan, dismiss, read, readRoutes, refresh, hurry,
  }
}
export type Rounds = ReturnType<typeof createRounds>
