/**
 * Fixes that wait on this phone until the server has them.
 *
 * Every fix is written to IndexedDB before anything else happens to it, in an envelope with a version, so that a queue
 * filled by an older release still drains (F26). How many were taken and how many are settled is written down a second
 * time, in localStorage: when the browser throws the store away, the two no longer agree and the loss is known and
 * shown instead of silent (F25).
 */
import { openDB, type DBSchema, type IDBPDatabase } from 'idb'
import type { FixIn, LonLat } from '@/shared/types'

/** The envelope of this release. A new shape gets the next number, and `readEnvelope` keeps reading this one. */
export interface Envelope {
  v: 1
  /** Counts the fixes of this phone without a gap. */
  n: number
  owner: string
  device_id: string
  shift_id: string
  fix: FixIn
  /** 0 waits to be sent, 1 was refused by the server and is kept for the officer to see. */
  state: 0 | 1
  refused?: string
}

export interface TrailPoint {
  shift_id: string
  /** Milliseconds since the epoch. */
  t: number
  place: LonLat
  accuracy_m: number | null
}

interface Tables extends DBSchema {
  fixes: { key: number; value: Envelope; indexes: { waiting: [string, number, number] } }
  trail: { key: [string, number]; value: TrailPoint }
}

export interface Counts {
  /** Mine, to be sent. */
  unsent: number
  /** Mine, refused one by one by the server. */
  refused: number
  /** Recorded on this phone under another account; only that account can send them. */
  others: number
}

interface Ledger {
  taken: number
  settled: number
}

type KeptText = Pick<Storage, 'getItem' | 'setItem'>
const LEDGER_AT = 'xungeng.officer.ledger'

/** An envelope of any release as one of this release, or null if a newer release wrote it. */
export function readEnvelope(raw: unknown): Envelope | null {
  const envelope = raw as Partial<Envelope> | null
  if (!envelope || envelope.v !== 1) return null
  return envelope as Envelope
}

export class FixQueue {
  /** How many fixes the browser has thrown away since the last time somebody looked. */
  lost = 0

  private constructor(
    private readonly db: IDBPDatabase<Tables>,
    private readonly kept: KeptText,
    private ledger: Ledger,
  ) {}

  static async open(kept: KeptText = localStorage, name = 'xungeng-officer'): Promise<FixQueue> {
    const db = await openDB<Tables>(name, 1, {
      upgrade(database) {
        database.createObjectStore('fixes', { keyPath: 'n' }).createIndex('waiting', ['owner', 'state', 'n'])
        database.createObjectStore('trail', { keyPath: ['shift_id', 't'] })
      },
      // Another tab with a newer release must be able to upgrade the store.
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    })
    const queue = new FixQueue(db, kept, readLedger(kept))
    await queue.reconcile()
    return queue
  }

  /** Compares what was taken with what is there. More than expected is a crash between two writes and harmless. */
  private async reconcile(): Promise<void> {
    const there = await this.db.count('fixes')
    const cursor = await this.db.transaction('fixes').store.openCursor(null, 'prev')
    const highest = cursor?.value.n ?? 0
    const expected = this.ledger.taken - this.ledger.settled
    this.lost = Math.max(0, expected - there)
    const taken = Math.max(this.ledger.taken, highest)
    this.write({ taken, settled: taken - there - this.lost })
  }

  /** The officer has seen the loss; it is not shown again. */
  acknowledgeLoss(): void {
    this.write({ ...this.ledger, settled: this.ledger.settled + this.lost })
    this.lost = 0
  }

  async add(owner: string, deviceId: string, shiftId: string, fix: FixIn): Promise<void> {
    const n = this.ledger.taken + 1
    // The number is taken at once, so that two fixes in flight never share one.
    this.ledger = { ...this.ledger, taken: n }
    await this.db.put('fixes', { v: 1, n, owner, device_id: deviceId, shift_id: shiftId, fix, state: 0 })
    this.write(this.ledger)
  }

  /** Up to `limit` waiting fixes of one owner and one device, newest first: what is live goes before the backlog. */
  async newest(owner: string, limit: number): Promise<Envelope[]> {
    const found: Envelope[] = []
    const index = this.db.transaction('fixes').store.index('waiting')
    let cursor = await index.openCursor(range(owner, 0), 'prev')
    while (cursor && found.length < limit) {
      const envelope = readEnvelope(cursor.value)
      if (envelope) {
        if (found[0] && found[0].device_id !== envelope.device_id) break
        found.push(envelope)
      }
      cursor = await cursor.continue()
    }
    return found
  }

  /** The server has these for good. */
  async settle(numbers: number[]): Promise<void> {
    // The ledger first: a crash in between sends them once more, which the server notices; never a false loss.
    this.write({ ...this.ledger, settled: this.ledger.settled + numbers.length })
    const transaction = this.db.transaction('fixes', 'readwrite')
    for (const n of numbers) void transaction.store.delete(n)
    await transaction.done
  }

  /** Sets one fix aside, which the server will not take; the others go on. */
  async refuse(n: number, reason: string): Promise<void> {
    await this.change([n], (envelope) => ({ ...envelope, state: 1, refused: reason }))
  }

  /** Puts fixes back that were set aside. */
  async requeue(numbers: number[]): Promise<void> {
    await this.change(numbers, ({ refused: _refused, ...envelope }) => ({ ...envelope, state: 0 }))
  }

  private async change(numbers: number[], how: (envelope: Envelope) => Envelope): Promise<void> {
    const transaction = this.db.transaction('fixes', 'readwrite')
    for (const n of numbers) {
      const envelope = await transaction.store.get(n)
      if (envelope) void transaction.store.put(how(envelope))
    }
    await transaction.done
  }

  async refusedOf(owner: string): Promise<Envelope[]> {
    return await this.db.getAllFromIndex('fixes', 'waiting', range(owner, 1))
  }

  async discardRefused(owner: string): Promise<void> {
    await this.settle((await this.refusedOf(owner)).map(({ n }) => n))
  }

  async counts(owner: string): Promise<Counts> {
    const index = this.db.transaction('fixes').store.index('waiting')
    const [unsent, refused, all] = await Promise.all([
      index.count(range(owner, 0)),
      index.count(range(owner, 1)),
      index.count(),
    ])
    return { unsent, refused, others: all - unsent - refused }
  }

  async addToTrail(point: TrailPoint): Promise<void> {
    await this.db.put('trail', point)
  }
  async trailOf(shiftId: string): Promise<TrailPoint[]> {
    return await this.db.getAll('trail', IDBKeyRange.bound([shiftId, 0], [shiftId, Infinity]))
  }
  /** Where the officer has been belongs to the server's record; the phone forgets it with the shift. */
  async forgetTrails(exceptShiftId: string | null): Promise<void> {
    const transaction = this.db.transaction('trail', 'readwrite')
    for (const key of await transaction.store.getAllKeys()) {
      if (key[0] !== exceptShiftId) void transaction.store.delete(key)
    }
    await transaction.done
  }

  close(): void {
    this.db.close()
  }

  private write(ledger: Ledger): void {
    this.ledger = ledger
    this.kept.setItem(LEDGER_AT, JSON.stringify(ledger))
  }
}

function range(owner: string, state: 0 | 1): IDBKeyRange {
  return IDBKeyRange.bound([owner, state, -Infinity], [owner, state, Infinity])
}

function readLedger(kept: KeptText): Ledger {
  try {
    const read = JSON.parse(kept.getItem(LEDGER_AT) ?? '') as Partial<Ledger>
    if (Number.isInteger(read.taken) && Number.isInteger(read.settled)) return read as Ledger
  } catch {
    // Nothing was written yet, or the browser has thrown that away as well.
  }
  return { taken: 0, settled: 0 }
}
