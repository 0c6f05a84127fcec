import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { beforeEach, describe, expect, it } from 'vitest'
import { FixQueue } from '@/officer/queue'
import { Sender, type SenderOptions } from '@/officer/sender'
import { Offline, Problem } from '@/shared/api'
import type { FixBatch, FixReceipt } from '@/shared/types'

const QUICK: Partial<SenderOptions> = {
  backlogPauseMs: 0,
  livePauseMs: 0,
  firstDelayMs: 2,
  longestDelayMs: 8,
  refusingDelayMs: 8,
}
const problem = (status: number, code = 'invalid', more = {}) => new Problem({ status, code, ...more })
const receipt = (batch: FixBatch): FixReceipt => ({ stored: batch.fixes.length, duplicates: 0, off_shift: 0, quarantined: 0, reasons: {} })

let queue: FixQueue
let received: FixBatch[]
beforeEach(async () => {
  globalThis.indexedDB = new IDBFactory()
  const texts = new Map<string, string>()
  queue = await FixQueue.open({ getItem: (key) => texts.get(key) ?? null, setItem: (key, value) => void texts.set(key, value) })
  received = []
})
async function fill(count: number, from = 0): Promise<void> {
  for (let n = from; n < from + count; n += 1) {
    await queue.add('zhang', 'phone', 'shift', { fixed_at: new Date(1_795_000_000_000 + n * 5000).toISOString(), lon: n, lat: 31 })
  }
}
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let round = 0; round < 1000; round += 1) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error('It did not come to that.')
}
const empty = async () => (await queue.counts('zhang')).unsent === 0
const lons = (batch: FixBatch) => batch.fixes.map(({ lon }) => lon)

function sender(post: (batch: FixBatch, gzip: boolean) => Promise<FixReceipt>, options: Partial<SenderOptions> = {}): Sender {
  return new Sender(queue, 'zhang', post, () => undefined, { ...QUICK, ...options })
}

describe('the sender', () => {
  it('drains a backlog in batches, what is live first (F22)', async () => {
    await fill(1200)
    const one = sender(async (batch) => {
      received.push(batch)
      if (received.length === 1) await fill(1, 5000)
      return receipt(batch)
    })
    one.start()
    await until(empty)
    one.stop()
    expect(received.every(({ fixes }) => fixes.length <= 500)).toBe(true)
    expect(lons(received[0]!)[0]).toBe(1199)
    // A fix that was taken meanwhile goes with the very next batch, before the rest of the backlog.
    expect(lons(received[1]!)[0]).toBe(5000)
    expect(new Set(received.flatMap(lons)).size).toBe(1201)
    expect(one.state.value.totals.stored).toBe(1201)
  })

  it('waits out a dead network and loses nothing', async () => {
    await fill(5)
    let dead = true
    const one = sender(async (batch) => {
      if (dead) throw new Offline()
      received.push(batch)
      return receipt(batch)
    })
    one.start()
    await until(() => one.state.value.trouble === 'offline')
    expect((await queue.counts('zhang')).unsent).toBe(5)
    dead = false
    one.hurry()
    await until(empty)
    expect(one.state.value.trouble).toBeNull()
    one.stop()
  })

  it('waits at least as long as a busy server asks', async () => {
    await fill(1)
    const at: number[] = []
    const one = sender(async (batch) => {
      at.push(Date.now())
      if (at.length === 1) throw problem(503, 'unavailable', { retry_after_s: 0.08 })
      return receipt(batch)
    })
    one.start()
    await until(empty)
    one.stop()
    expect(at[1]! - at[0]!).toBeGreaterThanOrEqual(79)
  })

  it('finds the one fix that is refused, sets it aside, and brings the others through', async () => {
    await fill(400)
    const one = sender(async (batch) => {
      if (lons(batch).includes(137)) throw problem(422)
      received.push(batch)
      return receipt(batch)
    })
    one.start()
    await until(empty)
    one.stop()
    expect(await queue.counts('zhang')).toEqual({ unsent: 0, refused: 1, others: 0 })
    expect((await queue.refusedOf('zhang'))[0]!.fix.lon).toBe(137)
    expect(new Set(received.flatMap(lons)).size).toBe(399)
  })

  it('halves a batch that is too large', async () => {
    await fill(64)
    const one = sender(async (batch) => {
      if (batch.fixes.length > 20) throw problem(413, 'too_large')
      received.push(batch)
      return receipt(batch)
    })
    one.start()
    await until(empty)
    one.stop()
    expect((await queue.counts('zhang')).refused).toBe(0)
    expect(received.flatMap(lons).length).toBe(64)
  })

  it('does not set everything aside when the server refuses everything; later all of it passes', async () => {
    await fill(40)
    let refusing = true
    let calls = 0
    const one = sender(async (batch) => {
      calls += 1
      if (refusing) throw problem(422)
      received.push(batch)
      return receipt(batch)
    })
    one.start()
    await until(() => one.state.value.trouble === 'refusing')
    expect(await queue.counts('zhang')).toEqual({ unsent: 40, refused: 0, others: 0 })
    expect(calls).toBeLessThan(30)
    refusing = false
    one.hurry()
    await until(empty)
    one.stop()
    expect((await queue.counts('zhang')).refused).toBe(0)
  })

  it('sends uncompressed to a server that cannot read gzip', async () => {
    await fill(3)
    const ways: boolean[] = []
    const one = sender(async (batch, gzip) => {
      ways.push(gzip)
      if (gzip) throw problem(415, 'unsupported_media_type')
      return receipt(batch)
    })
    one.start()
    await until(empty)
    one.stop()
    expect(ways).toEqual([true, false])
  })

  it('stops for one who is signed out, and keeps his fixes', async () => {
    await fill(2)
    const one = sender(async () => {
      throw problem(401, 'session_ended')
    })
    one.start()
    await until(() => one.state.value.trouble === 'signed_out')
    expect((await queue.counts('zhang')).unsent).toBe(2)
  })

  it('never sends the same fix in two batches that both arrived', async () => {
    await fill(900)
    const one = sender(async (batch) => {
      received.push(batch)
      return receipt(batch)
    })
    one.start()
    one.notice()
    one.hurry()
    await until(empty)
    one.stop()
    const all = received.flatMap(lons)
    expect(all.length).toBe(new Set(all).size)
  })
})
