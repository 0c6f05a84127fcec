/** How whoever sends waits: longer after each failure, no shorter than the server asks for, and until somebody wakes him. */

export interface PatienceOptions {
  firstDelayMs: number
  longestDelayMs: number
  now: () => number
  random: () => number
}

/** Everything waits when the server cannot be reached; a server that is busy with one thing holds up that alone. */
export const EVERYTHING = ''

/** When each thing may be tried again. */
export class Patience {
  private failures = new Map<string, number>()
  private notBefore = new Map<string, number>()

  constructor(private readonly options: PatienceOptions) {}

  /** In milliseconds since the epoch; 0 for what has not failed. */
  dueAt(whom: string): number {
    return Math.max(this.notBefore.get(EVERYTHING) ?? 0, this.notBefore.get(whom) ?? 0)
  }
  isDue(whom: string): boolean {
    return this.dueAt(whom) <= this.options.now()
  }

  /** It has failed, and waits; says until when. */
  wait(whom: string, askedS: number | null = null): number {
    const { firstDelayMs, longestDelayMs, now, random } = this.options
    const failures = this.failures.get(whom) ?? 0
    this.failures.set(whom, failures + 1)
    const ceiling = Math.min(longestDelayMs, firstDelayMs * 2 ** failures)
    const until = now() + Math.max((askedS ?? 0) * 1000, ceiling * (0.5 + 0.5 * random()))
    this.notBefore.set(whom, until)
    return until
  }

  /** The server answers: nothing waits because of the network any more, and this one not because of itself. */
  answered(whom: string): void {
    this.forget(whom)
    this.forget(EVERYTHING)
  }
  /** There is news of it: it need not wait. */
  forget(whom: string): void {
    this.failures.delete(whom)
    this.notBefore.delete(whom)
  }
  /** The server answers: each next failure counts as the first; what is busy keeps its wait. */
  calm(): void {
    this.failures.clear()
    this.notBefore.delete(EVERYTHING)
  }
  /** The network is back, or somebody asks. */
  clear(): void {
    this.failures.clear()
    this.notBefore.clear()
  }
}

/** A sleep that anybody may end, also just before it begins. */
export class Sleep {
  private woken = false
  private end: (() => void) | null = null

  /** What is told from here on ends the next sleep. */
  listen(): void {
    this.woken = false
  }
  wake(): void {
    this.woken = true
    this.end?.()
  }
  /** Until the time is over or somebody wakes it; without a time, until there is something new. */
  async sleep(ms: number | null): Promise<void> {
    if (this.woken) return
    await new Promise<void>((resolve) => {
      let timer: ReturnType<typeof setTimeout> | undefined
      this.end = () => {
        clearTimeout(timer)
        this.end = null
        resolve()
      }
      if (ms !== null) timer = setTimeout(this.end, ms)
    })
  }
}
