/**
 * Open tasks and open alarms: read in pages by REST, moved on by `changed`, and caught up by REST after each reconnect,
 * on `behind`, and every few minutes in any case.
 *
 * Versions decide which of two answers is the newer one, so a page that was asked for earlier never undoes what was
 * fetched later. What has ended stays known for a while: whoever has it open sees how it ended, and an old page does
 * not bring it back. While the socket is away the lists are asked for again and again, because an SOS must not wait for it.
 */
import { computed, ref, shallowReactive, watch, type Ref } from 'vue'
import { Problem, type Api } from '@/shared/api'
import type { LiveSocket } from '@/shared/socket'
import type { Page } from '@/shared/types'
import type { ChangedEvent, DeskAlarm, DeskTask } from '../types'

export interface Thing {
  id: string
  version: number
}

/** What is known of one kind of thing. */
export class Shelf<T extends Thing> {
  readonly open = shallowReactive(new Map<string, T>())
  private readonly ended = shallowReactive(new Map<string, T>())
  private readonly heardAt = new Map<string, number>()

  constructor(
    readonly path: string,
    readonly query: Record<string, string | boolean>,
    private readonly isOpen: (thing: T) => boolean,
  ) {}

  find(id: string | null | undefined): T | null {
    return (id && (this.open.get(id) ?? this.ended.get(id))) || null
  }

  knows(id: string, version: number): boolean {
    return (this.find(id)?.version ?? 0) >= version
  }

  /** One thing of an answer that was asked for at `askedAt`. */
  put(thing: T, askedAt: number): void {
    const known = this.find(thing.id)
    if (known && known.version > thing.version) return
    this.heardAt.set(thing.id, Math.max(askedAt, this.heardAt.get(thing.id) ?? 0))
    if (this.isOpen(thing)) {
      this.ended.delete(thing.id)
      this.open.set(thing.id, thing)
    } else {
      this.open.delete(thing.id)
      this.ended.delete(thing.id)
      this.ended.set(thing.id, thing)
      if (this.ended.size > REMEMBERED) this.ended.delete(this.ended.keys().next().value!)
    }
  }

  /** It is not there, or not ours to see any more. */
  remove(id: string): void {
    this.open.delete(id)
    this.ended.delete(id)
  }

  /** All pages are here: what is missing from them has ended, unless it was heard of since. Returns what to ask for. */
  complete(askedAt: number, ids: ReadonlySet<string>): string[] {
    return [...this.open.keys()].filter((id) => !ids.has(id) && (this.heardAt.get(id) ?? 0) <= askedAt)
  }
}

export interface DispatchFeed {
  readonly tasks: Shelf<DeskTask>
  readonly alarms: Shelf<DeskAlarm>
  /** True from the moment the first complete lists are here. */
  readonly complete: Readonly<Ref<boolean>>
  /** The lists could not be read and are tried again. */
  readonly failing: Readonly<Ref<boolean>>
  /** What is shown may be the past: the connection is away, or what was missed is not here yet. */
  readonly behind: Readonly<Ref<boolean>>
  /** Takes in the answer to an act of this desk. */
  took(kind: 'task', thing: DeskTask): void
  took(kind: 'alarm', thing: DeskAlarm): void
  /** Asks for one thing, e.g. because an address names it. */
  fetch(kind: 'task' | 'alarm', id: string): Promise<void>
  retry(): void
  close(): void
}

const PAGE = 200
const REMEMBERED = 300
const JITTER_MS = 1500
const AGAIN_MS = 4000
const UNCONNECTED_MS = 10_000
const RECONCILE_MS = 5 * 60_000
const GATHER_MS = 120
/** More than this are fetched as lists, not one by one. */
const FEW = 8

export function createDispatchFeed(
  socket: LiveSocket,
  api: Api,
  given: { random?: () => number } = {},
): DispatchFeed {
  const random = given.random ?? Math.random
  const tasks = new Shelf<DeskTask>('/api/v1/desk/tasks', { unfinished: true }, (task) => !task.closed_at && !task.cancelled_at)
  const alarms = new Shelf<DeskAlarm>('/api/v1/desk/alarms', { open: true }, (alarm) => !alarm.cleared_at && !alarm.dismissed_at)
  const shelves = { task: tasks, alarm: alarms } as const
  const complete = ref(false)
  const failing = ref(false)
  const missed = ref(true)
  const abort = new AbortController()
  let closed = false
  let clock = 0
  let run = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  let gathering: ReturnType<typeof setTimeout> | undefined
  /** What is to be fetched, and from which version on the answer is good enough. */
  const wanted = new Map<string, ChangedEvent>()
  const asking = new Map<string, Promise<void>>()

  async function fetchOne(kind: 'task' | 'alarm', id: string): Promise<void> {
    const shelf = shelves[kind]
    clock += 1
    const askedAt = clock
    try {
      const thing = await api.get<DeskTask & DeskAlarm>(`${shelf.path}/${encodeURIComponent(id)}`, undefined, {
        signal: abort.signal,
      })
      if (!closed) shelf.put(thing, askedAt)
    } catch (error) {
      if (closed) return
      if (error instanceof Problem && error.status === 404) shelf.remove(id)
      else if (!(error instanceof Problem && error.status === 401)) soon(AGAIN_MS)
    }
  }

  /** One question at a time for each thing; what changed while it was asked is asked for once more. */
  function ask(event: ChangedEvent): void {
    const kind = event.kind as 'task' | 'alarm'
    const key = `${kind}/${event.id}`
    if (shelves[kind].knows(event.id, event.version)) return
    const running = asking.get(key)
    if (running) {
      void running.then(() => ask(event))
      return
    }
    const question = fetchOne(kind, event.id).finally(() => asking.delete(key))
    asking.set(key, question)
  }

  function askForWanted(): void {
    gathering = undefined
    const events = [...wanted.values()]
    wanted.clear()
    if (events.length > FEW) void catchUp()
    else for (const event of events) ask(event)
  }

  socket.on('changed', (event: ChangedEvent) => {
    if (closed || (event.kind !== 'task' && event.kind !== 'alarm')) return
    // Alarms do not wait; a busy task may change several times in one transaction, and is asked for once.
    if (event.kind === 'alarm' && asking.size < FEW) {
      ask(event)
      return
    }
    const key = `${event.kind}/${event.id}`
    const before = wanted.get(key)
    if (!before || before.version < event.version) wanted.set(key, event)
    gathering ??= setTimeout(askForWanted, GATHER_MS)
  })
  socket.on('behind', () => {
    missed.value = true
    soon(random() * JITTER_MS)
  })

  function soon(afterMs: number): void {
    clearTimeout(timer)
    timer = setTimeout(() => void catchUp(), afterMs)
  }

  async function readAll<T extends Thing>(shelf: Shelf<T>, mine: number): Promise<string[] | null> {
    clock += 1
    const askedAt = clock
    const ids = new Set<string>()
    let cursor: string | null = null
    do {
      const page: Page<T> = await api.get<Page<T>>(
        shelf.path,
        { ...shelf.query, limit: PAGE, cursor },
        { signal: abort.signal },
      )
      if (closed || mine !== run) return null
      for (const thing of page.items) {
        ids.add(thing.id)
        shelf.put(thing, askedAt)
      }
      cursor = page.next
    } while (cursor !== null)
    return shelf.complete(askedAt, ids)
  }

  async function catchUp(): Promise<void> {
    clearTimeout(timer)
    run += 1
    const mine = run
    const generation = socket.generation.value
    missed.value = true
    try {
      const gone: [typeof alarms | typeof tasks, 'alarm' | 'task', string[] | null][] = [
        [alarms, 'alarm', await readAll(alarms, mine)],
        [tasks, 'task', await readAll(tasks, mine)],
      ]
      for (const [shelf, kind, ids] of gone) {
        if (ids === null) return
        // How it ended is worth knowing for whoever has it open; of many at once nobody has.
        if (ids.length <= FEW) await Promise.all(ids.map((id) => fetchOne(kind, id)))
        else for (const id of ids) shelf.remove(id)
      }
      if (closed || mine !== run) return
      failing.value = false
      complete.value = true
      // Asked before the present connection, the answer may have missed what came in between.
      if (generation === socket.generation.value) missed.value = false
      const pause = socket.state.value === 'connected' ? RECONCILE_MS : UNCONNECTED_MS
      soon(pause * (0.9 + 0.2 * random()))
    } catch (error) {
      if (closed || mine !== run) return
      if (error instanceof Problem && (error.status === 401 || error.status === 403)) return
      failing.value = true
      soon(AGAIN_MS * (0.7 + 0.6 * random()))
    }
  }

  /** The connection whose beginning is seen to. */
  let known = 0
  const stopWatching = watch(
    [socket.generation, socket.state] as const,
    ([generation, state], before) => {
      if (state !== 'connected') {
        // The lists go on without the socket, slower, for as long as it is away.
        if (before?.[1] === 'connected') soon(UNCONNECTED_MS * random())
        return
      }
      if (generation === known) return
      known = generation
      missed.value = true
      soon(generation > 1 ? random() * JITTER_MS : 0)
    },
    { immediate: true, flush: 'sync' },
  )
  // Where the socket is blocked from the beginning, the lists are read all the same.
  if (socket.state.value !== 'connected') soon(2_000)

  return {
    tasks,
    alarms,
    complete,
    failing,
    behind: computed(() => missed.value || socket.state.value !== 'connected'),
    took(kind: 'task' | 'alarm', thing: DeskTask | DeskAlarm) {
      clock += 1
      ;(shelves[kind] as unknown as Shelf<Thing>).put(thing, clock)
    },
    fetch: fetchOne,
    retry: () => void catchUp(),
    close() {
      closed = true
      abort.abort()
      clearTimeout(timer)
      clearTimeout(gathering)
      stopWatching()
    },
  }
}
