/**
 * A lane of the officer's phone: his presses about one kind of thing, and the watch on what the server says of it.
 *
 * A press is stored before it is sent, sent in its turn, and kept until the server has answered or its refusal has been
 * read. The server is asked anew whenever something may have been missed: the network is back, the page is looked at
 * again, time has passed, or something has ended by itself. Whoever signs out leaves nothing to be seen behind; what he
 * has not sent waits for him.
 */
import { computed, ref, shallowRef } from 'vue'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import { Courier, Outbox, sealed, type CourierState, type NewPress, type Outcome, type Press } from '@/shared/outbox'
import type { Session } from '@/shared/session'

const STORE = 'xungeng-officer-presses'
const TICK_MS = 5_000
const POLL_MS = 15_000
/** With the live channel open the poll only makes sure. */
const POLL_CONNECTED_MS = 60_000
const FLUSH_MS = 8_000
const CALM: CourierState = { trouble: null, retryAt: null }

/** What one lane does in its own way. */
export interface Work<Answer> {
  /** Its name in the outbox: presses of one lane do not wait for those of another. */
  lane: string
  now: () => number
  /** Somebody has signed in: what the phone remembers of his is there before anything is asked. */
  arrive?: () => void
  /** He signs out: what was his is no longer shown or remembered. */
  depart: () => void
  /** Asks the server for what may have been missed. */
  refresh: () => Promise<void>
  /** The server has taken a press. */
  take: (answer: Answer) => void
  /** It was taken or refused, and the presses that wait are counted anew. */
  answered?: (outcome: Outcome) => Promise<void>
  /** While this is so and the page is looked at, the server is asked without a word from it. */
  polled?: () => boolean
  /** When something that is shown ends by itself, in milliseconds: it is asked about once more after each. */
  ends?: () => number[]
}

export function createLane<Answer>(session: Session, api: Api, changes: Changes, work: Work<Answer>) {
  const owner = shallowRef<string | null>(null)
  const courier = shallowRef<Courier | null>(null)
  const waiting = shallowRef<Press[]>([])
  const refused = shallowRef<Press[]>([])
  const sending = computed(() => courier.value?.state.value ?? CALM)
  /** False on a phone that stores nothing: a press goes at once or not at all. */
  const stored = ref(true)
  /** There is something to show, be it nothing at all. */
  const known = ref(false)
  const failure = shallowRef<unknown>(null)
  const readAt = ref<number | null>(null)

  let outbox: Outbox | null = null
  let timer: ReturnType<typeof setInterval> | undefined
  let asked = 0
  let round = 0
  const pressing = new Set<string>()

  async function begin(): Promise<void> {
    const user = session.user.value
    if (!user || owner.value === user.id) return
    leave()
    owner.value = user.id
    work.arrive?.()
    const opened = await Outbox.open(STORE).catch(() => null)
    if (owner.value !== user.id) return opened?.close()
    outbox = opened
    stored.value = outbox !== null
    if (outbox) {
      courier.value = new Courier(outbox, user.id, work.lane, send, (outcome) => answered(user.id, outcome))
      courier.value.start()
    }
    document.addEventListener('visibilitychange', onVisible)
    globalThis.addEventListener('online', onOnline)
    timer = setInterval(tick, TICK_MS)
    await recount()
    await work.refresh()
  }

  function leave(): void {
    if (!owner.value) return
    courier.value?.stop()
    outbox?.close()
    courier.value = outbox = null
    clearInterval(timer)
    document.removeEventListener('visibilitychange', onVisible)
    globalThis.removeEventListener('online', onOnline)
    work.depart()
    owner.value = null
    waiting.value = refused.value = []
    known.value = false
    failure.value = readAt.value = null
    round += 1
  }

  const send = (press: Press) => api.post<Answer>(press.path, press.body, { idempotencyKey: press.key })

  /** What was asked for one officer is not shown to the next who signs in. */
  async function answered(whose: string, outcome: Outcome): Promise<void> {
    if (owner.value !== whose) return
    if (outcome.answer) work.take(outcome.answer as Answer)
    await recount()
    await work.answered?.(outcome)
  }

  /** Stores a press; it is on the phone when this returns, and sent from then on. */
  async function press(given: Omit<NewPress, 'lane'>): Promise<void> {
    const whose = owner.value
    if (!whose) return
    const one = { lane: work.lane, ...given }
    const sender = courier.value
    if (!outbox || !sender) {
      const unnumbered = { ...sealed(whose, one, work.now()), n: 0 }
      return await answered(whose, { press: unnumbered, answer: await send(unnumbered) })
    }
    await outbox.add(whose, one, work.now())
    await recount()
    sender.notice()
  }

  /** The same, for what a thumb may press twice before the screen has followed. */
  async function pressOnce(given: Omit<NewPress, 'lane'>): Promise<void> {
    if (pressing.has(given.subject)) return
    pressing.add(given.subject)
    try {
      await press(given)
    } finally {
      pressing.delete(given.subject)
    }
  }

  /** The officer has read why a press was not taken. */
  async function dismiss({ n }: Press): Promise<void> {
    await outbox?.settle(n)
    await recount()
  }

  async function recount(): Promise<void> {
    if (!outbox || !owner.value) return
    const mine = owner.value
    const [sent, set] = await Promise.all([outbox.waiting(mine, work.lane), outbox.refused(mine)])
    if (owner.value !== mine) return
    waiting.value = sent
    refused.value = set.filter(({ lane }) => lane === work.lane)
  }

  /** Puts a question to the server; an answer that a newer question, or another officer, has overtaken is dropped. */
  async function ask<T>(question: () => Promise<T>, take: (answer: T) => void): Promise<void> {
    if (!owner.value) return
    const mine = ++round
    asked = work.now()
    try {
      const answer = await question()
      if (round !== mine) return
      take(answer)
      known.value = true
      failure.value = null
      readAt.value = work.now()
    } catch (error) {
      if (round !== mine) return
      failure.value = error
      if (!(error instanceof Offline || error instanceof Problem)) throw error
    }
  }

  function hurry(): void {
    courier.value?.hurry()
  }
  /** Whether the server has everything, after the patience that an end of duty has. */
  async function flush(): Promise<void> {
    hurry()
    await courier.value?.flush(FLUSH_MS)
  }

  function tick(): void {
    // Another tab of this phone may have sent it.
    if (waiting.value.length) void recount()
    if (document.visibilityState === 'visible' && isDue()) void work.refresh()
  }
  function isDue(): boolean {
    const now = work.now()
    if (work.polled?.() && now - asked >= (changes.connected.value ? POLL_CONNECTED_MS : POLL_MS)) return true
    return work.ends?.().some((at) => now > at && asked < at) ?? false
  }
  function onVisible(): void {
    if (document.visibilityState !== 'visible') return
    void recount()
    hurry()
    if (work.now() - asked > TICK_MS) void work.refresh()
  }
  function onOnline(): void {
    hurry()
    void work.refresh()
  }

  return { owner, waiting, refused, sending, stored, known, failure, readAt, begin, leave, press, pressOnce, dismiss, ask, hurry, flush }
}
export type Lane = ReturnType<typeof createLane>

/** A list that was asked for, where one of its things was answered for meanwhile: the newer version counts. */
export function newest<Thing extends { id: string; version: number }>(read: Thing[], held: Thing[]): Thing[] {
  const newer = new Map(held.map((thing) => [thing.id, thing]))
  return read.map((thing) => ((newer.get(thing.id)?.version ?? 0) > thing.version ? newer.get(thing.id)! : thing))
}
