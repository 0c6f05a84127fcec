/**
 * The live picture: a snapshot by REST, moved on by the socket, and caught up by REST after each reconnect.
 *
 * While the socket is away the roster stays as it is and says so; nothing is guessed. After a reconnect the whole list is
 * read again in pages, after a random pause, so that a thousand desks do not ask at once when a server comes back (F14).
 */
import { computed, ref, watch, type Ref } from 'vue'
import { Problem, type Api } from '@/shared/api'
import { openSocket, type LiveSocket } from '@/shared/socket'
import type { Session } from '@/shared/session'
import type { Page } from '@/shared/types'
import { Roster } from './roster'
import type { DeskOfficer, OfficerEvent, PositionRow } from '../types'

export type FeedState = 'connecting' | 'loading' | 'live' | 'catching_up' | 'lost' | 'ended'

export interface Feed {
  readonly roster: Roster
  readonly state: Readonly<Ref<FeedState>>
  /** When the connection was lost, by the clock of this device. */
  readonly lostAt: Readonly<Ref<number | null>>
  /** The list could not be read and is tried again. */
  readonly failing: Readonly<Ref<boolean>>
  /** True from the moment the first complete list is here. */
  readonly complete: Readonly<Ref<boolean>>
  /** Changes at most once a frame when something in the roster has changed. */
  readonly version: Readonly<Ref<number>>
  /** Asks for one officer again, e.g. after an act on him. */
  describe(id: string): Promise<void>
  retry(): void
  close(): void
}

export interface FeedSurroundings {
  open: (session: Session) => LiveSocket
  random: () => number
  onServerTime: (serverTime: string) => void
  /** Whether the server answers at all. */
  probe: () => Promise<boolean>
}

const PAGE = 500
const JITTER_MS = 1500
const AGAIN_MS = 4000
const PATIENCE_MS = 4000
const RECONCILE_MS = 5 * 60_000
/** A town may be quiet at night, a dead network always is: after so long without a word the server is asked. */
const QUIET_MS = 12_000
const LOOK_EVERY_MS = 3_000
/** More officers than this are fetched as a list, not one by one. */
const FEW = 8

async function serverAnswers(): Promise<boolean> {
  try {
    return (await fetch('/healthz', { cache: 'no-store', signal: AbortSignal.timeout(5_000) })).ok
  } catch {
    return false
  }
}

export function createFeed(session: Session, api: Api, given: Partial<FeedSurroundings> = {}): Feed {
  const open = given.open ?? ((of) => openSocket(of, '/desk'))
  const random = given.random ?? Math.random
  const probe = given.probe ?? serverAnswers
  const roster = new Roster()
  const failing = ref(false)
  const complete = ref(false)
  const version = ref(0)
  const abort = new AbortController()
  let closed = false
  let run = 0
  let timer: ReturnType<typeof setTimeout> | undefined
  let announced = false
  const asked = new Set<string>()
  let gathering: ReturnType<typeof setTimeout> | undefined
  const wanted = new Set<string>()

  function changed(): void {
    if (announced) return
    announced = true
    const say = () => {
      announced = false
      version.value += 1
    }
    if (typeof requestAnimationFrame === 'function' && !document.hidden) requestAnimationFrame(say)
    else setTimeout(say, 50)
  }

  const socket = open(session)
  /** Connected, but what happened while it was away is not here yet. */
  const behind = ref(true)
  /** The first connection takes so long that it has to be said. */
  const overdue = ref(false)
  /** The socket thinks that it is connected, and the server does not answer. */
  const unreachable = ref(false)
  let heardMs = Date.now()
  const quietSince = ref<number | null>(null)
  const state = computed<FeedState>(() => {
    if (socket.state.value === 'ended') return 'ended'
    if (socket.state.value === 'connected' && !unreachable.value) {
      if (!complete.value) return 'loading'
      return behind.value ? 'catching_up' : 'live'
    }
    return socket.state.value !== 'connecting' || overdue.value ? 'lost' : 'connecting'
  })

  function heard(): void {
    heardMs = Date.now()
    unreachable.value = false
  }

  /**
   * A connection whose network has died without a word is open for the better part of a minute, as far as the socket
   * knows. A desk must not show a memory as the present for so long: when nothing is heard, the server is asked.
   */
  async function look(atOnce = false): Promise<void> {
    if (closed || socket.state.value !== 'connected') return
    if (!atOnce && !unreachable.value && Date.now() - heardMs < QUIET_MS) return
    const since = heardMs
    const there = await probe()
    if (closed || socket.state.value !== 'connected' || heardMs !== since) return
    if (there && unreachable.value) socket.retry()
    else if (there) heardMs = Date.now()
    else if (!unreachable.value) {
      quietSince.value = since
      unreachable.value = true
    }
  }
  const looking = setInterval(() => void look(), LOOK_EVERY_MS)
  const onOffline = () => void look(true)
  globalThis.addEventListener?.('offline', onOffline)

  socket.on('hello', (hello: { server_time: string }) => {
    heard()
    given.onServerTime?.(hello.server_time)
  })
  socket.on('positions', (rows: PositionRow[]) => {
    heard()
    want(roster.position(rows))
    changed()
  })
  socket.on('officer', (event: OfficerEvent) => {
    heard()
    if (event.action === 'start') {
      roster.expect(event.officer_id)
      want([event.officer_id])
      return
    }
    const known = roster.officers.get(event.officer_id)
    if (known && known.officer.shift_id !== event.shift_id) {
      want([event.officer_id])
      return
    }
    roster.remove(event.officer_id)
    changed()
  })

  /** Gathers who is to be asked for, so that a change of shift for a hundred people is one question and not a hundred. */
  function want(ids: readonly string[]): void {
    for (const id of ids) if (!asked.has(id)) wanted.add(id)
    if (wanted.size === 0 || gathering !== undefined) return
    gathering = setTimeout(
      () => {
        gathering = undefined
        const these = [...wanted]
        wanted.clear()
        if (these.length > FEW) void catchUp()
        else for (const id of these) void describe(id)
      },
      200 + random() * 300,
    )
  }

  async function describe(id: string): Promise<void> {
    if (closed || asked.has(id)) return
    asked.add(id)
    const reading = roster.ask()
    try {
      const officer = await api.get<DeskOfficer>(`/api/v1/desk/officers/${encodeURIComponent(id)}`, undefined, {
        signal: abort.signal,
      })
      roster.merge(reading, [officer])
      changed()
    } catch (error) {
      if (error instanceof Problem && error.status === 404) {
        roster.remove(id)
        changed()
      }
      // Anything else: the next list, at the latest in a few minutes, knows him.
    } finally {
      asked.delete(id)
    }
  }

  async function catchUp(): Promise<void> {
    clearTimeout(timer)
    run += 1
    const mine = run
    const generation = socket.generation.value
    const reading = roster.ask()
    try {
      let cursor: string | null = null
      do {
        const page: Page<DeskOfficer> = await api.get<Page<DeskOfficer>>(
          '/api/v1/desk/officers',
          { limit: PAGE, cursor },
          { signal: abort.signal },
        )
        if (closed || mine !== run) return
        roster.merge(reading, page.items)
        changed()
        cursor = page.next
      } while (cursor !== null)
      roster.complete(reading)
      failing.value = false
      complete.value = true
      // Asked before the present connection, the answer may have missed what came in between: it is asked again.
      if (generation === socket.generation.value) behind.value = false
      changed()
      timer = setTimeout(() => void catchUp(), RECONCILE_MS * (0.9 + 0.2 * random()))
    } catch (error) {
      if (closed || mine !== run) return
      if (error instanceof Problem && error.status === 401) return
      failing.value = true
      timer = setTimeout(() => void catchUp(), AGAIN_MS * (0.7 + 0.6 * random()))
    }
  }

  const stopWatching = watch(
    socket.generation,
    (generation) => {
      if (generation === 0) return
      heard()
      behind.value = true
      overdue.value = false
      clearTimeout(timer)
      timer = setTimeout(() => void catchUp(), generation > 1 ? random() * JITTER_MS : 0)
    },
    { immediate: true, flush: 'sync' },
  )
  // Where only the socket is blocked, the desk still sees who is on shift, and is told that it is not live.
  const patience = setTimeout(() => {
    if (closed || socket.generation.value > 0) return
    overdue.value = true
    void catchUp()
  }, PATIENCE_MS)

  return {
    roster,
    state,
    lostAt: computed(() => (unreachable.value ? quietSince.value : socket.lostAt.value)),
    failing,
    complete,
    version,
    describe,
    retry() {
      socket.retry()
      void catchUp()
    },
    close() {
      closed = true
      abort.abort()
      clearInterval(looking)
      globalThis.removeEventListener?.('offline', onOffline)
      clearTimeout(timer)
      clearTimeout(gathering)
      clearTimeout(patience)
      stopWatching()
      socket.close()
    },
  }
}
