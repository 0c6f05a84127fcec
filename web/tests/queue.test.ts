import { readdirSync, readFileSync } from 'node:fs'
import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import { beforeEach, describe, expect, it } from 'vitest'
import { FixQueue } from '@/officer/queue'
import type { FixIn } from '@/shared/types'

class Kept {
  texts = new Map<string, string>()
  getItem = (key: string) => this.texts.get(key) ?? null
  setItem = (key: string, value: string) => void this.texts.set(key, value)
}
const fix = (second: number): FixIn => ({
  fixed_at: new Date(Date.UTC(2026, 10, 23, 8, 0, second)).toISOString(),
  lon: 121.3 + second / 1e5,
  lat: 31.1,
})
let kept: Kept
beforeEach(() => {
  globalThis.indexedDB = new IDBFactory()
  kept = new Kept()
})
async function filled(count: number, owner = 'zhang'): Promise<FixQueue> {
  const queue = await FixQueue.open(kept)
  for (let n = 0; n < count; n += 1) await queue.add(owner, 'phone', 'shift', fix(n))
  return queue
}

describe('the queue of fixes', () => {
  it('hands out the newest first and keeps everything until it is settled', async () => {
    const queue = await filled(7)
    const batch = await queue.newest('zhang', 3)
    expect(batch.map(({ fix: { fixed_at } }) => fixed_at)).toEqual([fix(6), fix(5), fix(4)].map((f) => f.fixed_at))
    expect((await queue.counts('zhang')).unsent).toBe(7)
    await queue.settle(batch.map(({ n }) => n))
    expect((await queue.newest('zhang', 1))[0]!.fix).toEqual(fix(3))
  })

  it('is all there after the app is closed and opened', async () => {
    ;(await filled(5)).close()
    const again = await FixQueue.open(kept)
    expect(await again.counts('zhang')).toEqual({ unsent: 5, refused: 0, others: 0 })
    expect(again.lost).toBe(0)
    await again.add('zhang', 'phone', 'shift', fix(9))
    expect((await again.newest('zhang', 1))[0]!.n).toBe(6)
  })

  it('gives no number twice to fixes that are taken at the same moment', async () => {
    const queue = await FixQueue.open(kept)
    await Promise.all(Array.from({ length: 20 }, (_, n) => queue.add('zhang', 'phone', 'shift', fix(n))))
    expect((await queue.counts('zhang')).unsent).toBe(20)
  })

  it('notices how many fixes the browser has thrown away, tells it until it is read, and goes on (F25)', async () => {
    ;(await filled(12)).close()
    globalThis.indexedDB = new IDBFactory()
    const after = await FixQueue.open(kept)
    expect(after.lost).toBe(12)
    await after.add('zhang', 'phone', 'shift', fix(30))
    after.close()
    const later = await FixQueue.open(kept)
    expect(later.lost).toBe(12)
    later.acknowledgeLoss()
    later.close()
    const last = await FixQueue.open(kept)
    expect(last.lost).toBe(0)
    expect((await last.counts('zhang')).unsent).toBe(1)
  })

  it('notices a part that is missing from the middle of the queue (F25)', async () => {
    ;(await filled(10)).close()
    const raw = await openDB('xungeng-officer')
    for (const n of [3, 4, 5]) await raw.delete('fixes', n)
    raw.close()
    expect((await FixQueue.open(kept)).lost).toBe(3)
  })

  it('never calls a crash between two writes a loss', async () => {
    const queue = await filled(4)
    // Written to the store, the ledger not yet: one more than expected.
    const before = kept.getItem('xungeng.officer.ledger')!
    await queue.add('zhang', 'phone', 'shift', fix(8))
    queue.close()
    kept.setItem('xungeng.officer.ledger', before)
    const again = await FixQueue.open(kept)
    expect(again.lost).toBe(0)
    expect((await again.counts('zhang')).unsent).toBe(5)
    await again.add('zhang', 'phone', 'shift', fix(9))
    expect((await again.counts('zhang')).unsent).toBe(6)
    // Settled in the ledger, not yet deleted: it is sent once more, which the server knows by its time.
    again.close()
    const ledger = JSON.parse(kept.getItem('xungeng.officer.ledger')!)
    kept.setItem('xungeng.officer.ledger', JSON.stringify({ ...ledger, settled: ledger.settled + 2 }))
    const last = await FixQueue.open(kept)
    expect(last.lost).toBe(0)
    expect((await last.counts('zhang')).unsent).toBe(6)
  })

  it("keeps another account's fixes for that account", async () => {
    const queue = await filled(3, 'li')
    await queue.add('zhang', 'phone', 'shift', fix(40))
    expect(await queue.counts('zhang')).toEqual({ unsent: 1, refused: 0, others: 3 })
    expect((await queue.newest('zhang', 10)).length).toBe(1)
    expect((await queue.newest('li', 10)).length).toBe(3)
  })

  it('sets refused fixes aside, shows them, and forgets them only when told to', async () => {
    const queue = await filled(3)
    await queue.refuse(2, 'invalid')
    expect(await queue.counts('zhang')).toEqual({ unsent: 2, refused: 1, others: 0 })
    expect((await queue.refusedOf('zhang'))[0]).toMatchObject({ n: 2, refused: 'invalid' })
    await queue.discardRefused('zhang')
    queue.close()
    const again = await FixQueue.open(kept)
    expect(again.lost).toBe(0)
    expect(await again.counts('zhang')).toEqual({ unsent: 2, refused: 0, others: 0 })
  })

  it('forgets the trail of a shift that is over', async () => {
    const queue = await FixQueue.open(kept)
    for (const shift_id of ['old', 'new']) await queue.addToTrail({ shift_id, t: 1, place: [121, 31], accuracy_m: 5 })
    await queue.forgetTrails('new')
    expect(await queue.trailOf('old')).toEqual([])
    expect((await queue.trailOf('new')).length).toBe(1)
  })
})

describe('queues that older releases have left on phones (F26)', () => {
  const folder = 'tests/queues'
  const recorded = readdirSync(folder).filter((name) => name.endsWith('.json'))
  it.each(recorded)('%s drains whole', async (name) => {
    const past = JSON.parse(readFileSync(`${folder}/${name}`, 'utf8')) as {
      version: number
      owner: string
      ledger: unknown
      fixes: { n: number }[]
    }
    kept.setItem('xungeng.officer.ledger', JSON.stringify(past.ledger))
    const db = await openDB('xungeng-officer', past.version, {
      upgrade(database) {
        database.createObjectStore('fixes', { keyPath: 'n' }).createIndex('waiting', ['owner', 'state', 'n'])
        database.createObjectStore('trail', { keyPath: ['shift_id', 't'] })
      },
    })
    for (const envelope of past.fixes) await db.put('fixes', envelope)
    db.close()
    const queue = await FixQueue.open(kept)
    expect(queue.lost).toBe(0)
    const batch = await queue.newest(past.owner, 500)
    expect(batch.length).toBe(past.fixes.length)
    for (const { fix: one, device_id } of batch) {
      expect(device_id).toMatch(/^[0-9a-f-]{36}$/)
      expect(one).toMatchObject({ fixed_at: expect.stringMatching(/Z$/), lon: expect.any(Number), lat: expect.any(Number) })
    }
    await queue.settle(batch.map(({ n }) => n))
    expect((await queue.counts(past.owner)).unsent).toBe(0)
  })
})
