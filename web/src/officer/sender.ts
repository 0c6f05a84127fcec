/**
 * Brings the waiting fixes to the server: in batches, newest first, so that the live map sees the officer at once and
 * the backlog of a tunnel or of three days follows behind (F22).
 *
 * Nothing blocks the queue. A dead network or a busy server is waited for, longer each time. A batch that the server
 * refuses is halved until the one bad fix is found, which is set aside and shown, while the others pass. Every attempt
 * is a request of its own with a fresh Idempotency-Key and `sent_at`; what arrived twice the server knows by its time.
 */
import { ref } from 'vue'
import { Offline, Problem } from '@/shared/api'
import { instant } from '@/shared/time'
import type { FixBatch, FixReceipt } from '@/shared/types'
import type { Envelope, FixQueue } from './queue'

export interface SenderState {
  phase: 'idle' | 'sending' | 'waiting' | 'stopped'
  /** Why it waits: no network, a busy server, a server that refuses everything, nobody signed in. */
  trouble: 'offline' | 'busy' | 'refusing' | 'signed_out' | null
  refusal: string | null
  retryAt: number | null
  lastSentAt: number | null
  totals: { stored: number; duplicates: number; off_shift: number; quarantined: number }
  reasons: Record<string, number>
}

export interface SenderOptions {
  batchSize: number
  /** Between two batches of a backlog, so that a phone with three days does not crowd out the others. */
  backlogPauseMs: number
  /** The least time between two live batches. */
  livePauseMs: number
  firstDelayMs: number
  longestDelayMs: number
  refusingDelayMs: number
  now: () => number
  random: () => number
}
const USUAL: SenderOptions = {
  batchSize: 500,
  backlogPauseMs: 800,
  livePauseMs: 5_000,
  firstDelayMs: 2_000,
  longestDelayMs: 120_000,
  refusingDelayMs: 300_000,
  now: () => Date.now(),
  random: Math.random,
}
/** So many refused one after the other, and none taken, are not bad fixes but a server that takes none. */
const SUSPECTS = 4

/** The server refuses whatever it is given. */
class Refusing extends Error {
  constructor(readonly code: string) {
    super(code)
  }
}

export class Sender {
  readonly state = ref<SenderState>({
    phase: 'idle',
    trouble: null,
    refusal: null,
    retryAt: null,
    lastSentAt: null,
    totals: { stored: 0, duplicates: 0, off_shift: 0, quarantined: 0 },
    reasons: {},
  })
  private readonly options: SenderOptions
  private running = false
  private failures = 0
  private suspects: number[] = []
  private gzip = true
  private wake: ((hurry: boolean) => void) | null = null

  constructor(
    private readonly queue: FixQueue,
    private readonly owner: string,
    private readonly post: (batch: FixBatch, gzip: boolean) => Promise<FixReceipt>,
    /** Told after each change of what waits. */
    private readonly changed: () => void = () => undefined,
    options: Partial<SenderOptions> = {},
  ) {
    this.options = { ...USUAL, ...options }
  }

  start(): void {
    if (this.running) return
    this.running = true
    this.run().catch(() => {
      // The store is closed under a sender that was told to stop; anything else is a store that is broken.
      this.running = false
      this.state.value.phase = 'stopped'
    })
  }

  stop(): void {
    this.running = false
    this.state.value.phase = 'stopped'
    this.wake?.(true)
  }

  /** There is something new to send. A wait after a failure is not cut short by it. */
  notice(): void {
    if (this.state.value.phase === 'idle') this.wake?.(false)
  }

  /** The network is back, or the officer has asked: try at once. */
  hurry(): void {
    this.failures = 0
    this.wake?.(true)
  }

  private async run(): Promise<void> {
    while (this.running) {
      const batch = await this.queue.newest(this.owner, this.options.batchSize)
      if (!this.running) return
      if (batch.length === 0) {
        this.rest('idle')
        await this.sleep(null)
        continue
      }
      this.state.value.phase = 'sending'
      try {
        await this.deliver(batch)
        this.failures = 0
        const backlog = batch.length >= this.options.batchSize
        if (backlog) await this.pause(this.options.backlogPauseMs, 'sending')
        else await this.pause(this.options.livePauseMs, 'idle')
      } catch (error) {
        if (!(await this.afterTrouble(error))) return
      }
    }
  }

  /** Sends once what is there, without waiting for more; true if nothing is left. */
  async flush(patienceMs: number): Promise<boolean> {
    const until = this.options.now() + patienceMs
    this.hurry()
    while (this.options.now() < until) {
      if ((await this.queue.counts(this.owner)).unsent === 0) return true
      await new Promise((resolve) => setTimeout(resolve, 150))
      if (this.state.value.phase !== 'sending') this.hurry()
    }
    return (await this.queue.counts(this.owner)).unsent === 0
  }

  private async deliver(batch: Envelope[]): Promise<void> {
    const first = batch[0] as Envelope
    let receipt: FixReceipt
    try {
      const body: FixBatch = {
        device_id: first.device_id,
        sent_at: instant(this.options.now()),
        datum: 'wgs84',
        fixes: batch.map(({ fix }) => fix),
      }
      receipt = await this.post(body, this.gzip)
    } catch (error) {
      if (!(error instanceof Problem) || !aboutTheContent(error.status)) throw error
      if (error.status === 415 && this.gzip) {
        this.gzip = false
        return await this.deliver(batch)
      }
      if (batch.length === 1) return await this.setAside(first.n, error.code)
      const middle = Math.ceil(batch.length / 2)
      await this.deliver(batch.slice(0, middle))
      return await this.deliver(batch.slice(middle))
    }
    this.suspects = []
    await this.queue.settle(batch.map(({ n }) => n))
    const state = this.state.value
    state.lastSentAt = this.options.now()
    state.trouble = null
    state.refusal = null
    for (const name of ['stored', 'duplicates', 'off_shift', 'quarantined'] as const) {
      state.totals[name] += receipt[name] ?? 0
    }
    for (const [reason, count] of Object.entries(receipt.reasons ?? {})) {
      state.reasons[reason] = (state.reasons[reason] ?? 0) + count
    }
    this.changed()
  }

  private async setAside(n: number, code: string): Promise<void> {
    await this.queue.refuse(n, code)
    this.suspects.push(n)
    if (this.suspects.length >= SUSPECTS) {
      await this.queue.requeue(this.suspects)
      this.suspects = []
      throw new Refusing(code)
    }
    this.changed()
  }

  /** Waits as long as the trouble asks for; false when there is no point in going on. */
  private async afterTrouble(error: unknown): Promise<boolean> {
    const state = this.state.value
    if (error instanceof Problem && error.status === 401) {
      state.trouble = 'signed_out'
      this.running = false
      state.phase = 'stopped'
      return false
    }
    const { firstDelayMs, longestDelayMs, refusingDelayMs, random } = this.options
    const refusing = error instanceof Refusing || (error instanceof Problem && error.status < 500 && error.status !== 429)
    state.trouble = error instanceof Offline ? 'offline' : refusing ? 'refusing' : 'busy'
    state.refusal = refusing ? (error as Problem | Refusing).code : null
    const ceiling = refusing ? refusingDelayMs : Math.min(longestDelayMs, firstDelayMs * 2 ** this.failures)
    this.failures += 1
    const asked = error instanceof Problem && error.retryAfterS ? error.retryAfterS * 1000 : 0
    await this.pause(Math.max(asked, ceiling * (0.5 + 0.5 * random())), 'waiting')
    return this.running
  }

  private rest(phase: SenderState['phase'], until: number | null = null): void {
    this.state.value.phase = phase
    this.state.value.retryAt = until
  }

  private async pause(ms: number, phase: SenderState['phase']): Promise<void> {
    this.rest(phase, this.options.now() + ms)
    await this.sleep(ms)
    this.state.value.retryAt = null
  }

  /** Until the time is over or somebody hurries; without a time, until there is something new. */
  private sleep(ms: number | null): Promise<void> {
    return new Promise((resolve) => {
      let timer: ReturnType<typeof setTimeout> | undefined
      const done = () => {
        clearTimeout(timer)
        this.wake = null
        resolve()
      }
      if (ms !== null) timer = setTimeout(done, ms)
      this.wake = (hurry) => {
        if (hurry || ms === null) done()
      }
    })
  }
}

/** 4xx that say something about what was sent, and not about who sends it or how often. */
function aboutTheContent(status: number): boolean {
  return [400, 409, 410, 413, 415, 422].includes(status)
}
