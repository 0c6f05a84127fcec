/**
 * Presses of buttons that wait on this phone until the server has answered them.
 *
 * A press is written to IndexedDB before it is sent, with the Idempotency-Key that it keeps through every retry and
 * every restart, and with the moment it was made by the phone's clock: what was pressed in airplane mode arrives once,
 * in order and with its own time. The envelope has a version, so that presses left by an older release still go (F26).
 */
import { openDB, type DBSchema, type IDBPDatabase } from 'idb'
import { ref } from 'vue'
import { Problem } from './api'
import { newId } from './ids'
import { EVERYTHING, Patience, Sleep, type PatienceOptions } from './patience'
import { instant } from './time'
import type { Instant } from './types'

/** What the server said about a press that it did not take. */
export interface Refusal {
  status: number
  code: string
  /** The state that the thing was found in (409). */
  current: string | null
}

/** The envelope of this release. A new shape gets the next number, and `readPress` keeps reading this one. */
export interface Press {
  v: 1
  /** The order of pressing, given by the store. */
  n: number
  owner: string
  /** Presses of one lane do not wait for those of another: nothing stands in the way of a call for help. */
  lane: string
  /** What was pressed about, e.g. a task's id; presses about one thing go one after the other. */
  subject: string
  action: string
  /** What people call the thing, for a sentence about a press whose thing is gone. */
  about?: string
  path: string
  body: Record<string, unknown>
  key: string
  pressed_at: Instant
  /** 0 waits to be sent, 1 was refused and is kept until it has been read. */
  state: 0 | 1
  refusal?: Refusal
}
export type NewPress = Pick<Press, 'lane' | 'subject' | 'action' | 'about' | 'path' | 'body'>

interface Tables extends DBSchema {
  presses: { key: number; value: Press; indexes: { of: [string, number, number] } }
}

/** An envelope of any release as one of this release, or null if a newer release wrote it. */
export function readPress(raw: unknown): Press | null {
  const press = raw as Partial<Press> | null
  return press && press.v === 1 ? (press as Press) : null
}

/** A press as it is stored and sent, but for its number in the order. */
export function sealed(owner: string, press: NewPress, pressedAtMs: number): Omit<Press, 'n'> {
  const pressed_at = instant(pressedAtMs)
  return { v: 1, owner, ...press, body: { ...press.body, device_at: pressed_at }, key: newId(), pressed_at, state: 0 }
}

export class Outbox {
  private constructor(private readonly db: IDBPDatabase<Tables>) {}

  static async open(name: string): Promise<Outbox> {
    const db = await openDB<Tables>(name, 1, {
      upgrade(database) {
        database.createObjectStore('presses', { keyPath: 'n', autoIncrement: true }).createIndex('of', ['owner', 'state', 'n'])
      },
      // Another tab with a newer release must be able to upgrade the store.
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    })
    return new Outbox(db)
  }

  /** Stores a press; it has been stored when this returns. */
  async add(owner: string, press: NewPress, pressedAtMs: number): Promise<Press> {
    const envelope = sealed(owner, press, pressedAtMs)
    const n = await this.db.add('presses', envelope as unknown as Press)
    return { ...envelope, n }
  }

  /** Whose presses wait, in the order of pressing. */
  async waiting(owner: string, lane?: string): Promise<Press[]> {
    return (await this.read(owner, 0)).filter((press) => lane === undefined || press.lane === lane)
  }
  async refused(owner: string): Promise<Press[]> {
    return await this.read(owner, 1)
  }
  private async read(owner: string, state: 0 | 1): Promise<Press[]> {
    const range = IDBKeyRange.bound([owner, state, -Infinity], [owner, state, Infinity])
    const found = await this.db.getAllFromIndex('presses', 'of', range)
    return found.map(readPress).filter((press) => press !== null)
  }

  /** The server has answered it, or its refusal has been read. */
  async settle(n: number): Promise<void> {
    await this.db.delete('presses', n)
  }

  /** Sets aside what the server does not take; whatever was pressed after it goes on. */
  async refuse(n: number, refusal: Refusal): Promise<void> {
    const transaction = this.db.transaction('presses', 'readwrite')
    const press = await transaction.store.get(n)
    if (press) void transaction.store.put({ ...press, state: 1, refusal })
    await transaction.done
  }

  close(): void {
    this.db.close()
  }
}

export interface CourierState {
  /** Why something waits: no network, a busy server, nobody signed in; null while nothing is wrong. */
  trouble: 'offline' | 'busy' | 'signed_out' | null
  retryAt: number | null
}

export interface CourierOptions extends PatienceOptions {
  /** One tab at a time sends; without web locks the keys alone keep a press from being done twice. */
  locks: Pick<LockManager, 'request'> | null
}

export interface Outcome {
  press: Press
  /** The body of the answer, or the refusal. */
  answer?: unknown
  problem?: Problem
}

/** Brings the presses of one lane to the server, each until it is answered: lost answers are asked for again. */
export class Courier {
  readonly state = ref<CourierState>({ trouble: null, retryAt: null })
  private readonly options: CourierOptions
  private running = false
  private readonly patience: Patience
  private readonly rest = new Sleep()

  constructor(
    private readonly outbox: Outbox,
    private readonly owner: string,
    private readonly lane: string,
    private readonly post: (press: Press) => Promise<unknown>,
    /** Told after each press that was answered, once the store knows it. */
    private readonly answered: (outcome: Outcome) => void | Promise<void> = () => undefined,
    options: Partial<CourierOptions> = {},
  ) {
    this.options = {
      firstDelayMs: 2_000,
      longestDelayMs: 60_000,
      now: () => Date.now(),
      random: Math.random,
      locks: globalThis.navigator?.locks ?? null,
      ...options,
    }
    this.patience = new Patience(this.options)
  }

  start(): void {
    if (this.running) return
    this.running = true
    this.run().catch(() => {
      // The store is closed under a courier that was told to stop; anything else is a store that is broken.
      this.running = false
    })
  }

  stop(): void {
    this.running = false
    this.rest.wake()
  }

  /** There is something new to send; what failed before keeps its wait. */
  notice(): void {
    this.rest.wake()
  }

  /** The network is back, or somebody asks: try everything at once. */
  hurry(): void {
    this.patience.clear()
    this.notice()
  }

  /** Waits until nothing of this lane waits, or the patience is over; true if nothing is left. */
  async flush(patienceMs: number): Promise<boolean> {
    const until = this.options.now() + patienceMs
    const left = async () => (await this.outbox.waiting(this.owner, this.lane)).length > 0
    while (this.running && (await left()) && this.options.now() < until && this.state.value.trouble !== 'offline') {
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    return !(await left())
  }

  private async run(): Promise<void> {
    while (this.running) {
      this.rest.listen()
      const next = await this.alone(() => this.sendNext())
      if (!this.running) return
      if (next === 'sent') continue
      this.state.value = { trouble: next === null ? null : this.state.value.trouble, retryAt: next }
      await this.rest.sleep(next === null ? null : Math.max(0, next - this.options.now()))
    }
  }

  private async alone<T>(work: () => Promise<T>): Promise<T> {
    const { locks } = this.options
    return locks ? await locks.request(`xungeng.outbox.${this.lane}`, work) : await work()
  }

  /** Sends one press that is due. Otherwise: when the next one is, or null if none waits. */
  private async sendNext(): Promise<'sent' | number | null> {
    const heads = new Map<string, Press>()
    for (const press of await this.outbox.waiting(this.owner, this.lane)) {
      if (!heads.has(press.subject)) heads.set(press.subject, press)
    }
    const due = [...heads.values()].find(({ subject }) => this.patience.isDue(subject))
    if (!this.running) return null
    if (due) {
      await this.deliver(due)
      return 'sent'
    }
    return heads.size ? Math.min(...[...heads.keys()].map((subject) => this.patience.dueAt(subject))) : null
  }

  private async deliver(press: Press): Promise<void> {
    let outcome: Outcome = { press }
    let trouble: unknown = null
    try {
      outcome.answer = await this.post(press)
    } catch (error) {
      trouble = error
    }
    if (trouble === null) await this.outbox.settle(press.n)
    else {
      const error = trouble
      if (!(error instanceof Problem)) return this.wait(EVERYTHING, 'offline')
      if (error.status === 401) {
        this.running = false
        this.state.value = { trouble: 'signed_out', retryAt: null }
        return
      }
      if (comesAgain(error.status)) return this.wait(press.subject, 'busy', error.retryAfterS)
      const { status, code } = error
      await this.outbox.refuse(press.n, { status, code, current: error.document.current ?? null })
      outcome = { press, problem: error }
    }
    this.patience.calm()
    this.state.value = { trouble: null, retryAt: null }
    await this.answered(outcome)
  }

  private wait(whom: string, trouble: 'offline' | 'busy', askedS: number | null = null): void {
    this.state.value = { trouble, retryAt: this.patience.wait(whom, askedS) }
  }
}

/** Answers that say nothing about the press itself: it goes again, with the same key. */
function comesAgain(status: number): boolean {
  return status >= 500 || status === 408 || status === 425 || status === 429
}

