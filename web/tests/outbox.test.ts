import { readFileSync, readdirSync } from 'node:fs'
import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { openDB } from 'idb'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Courier, Outbox, type CourierOptions, type Outcome, type Press } from '@/shared/outbox'
import { Offline, Problem } from '@/shared/api'

const NAME = 'presses-under-test'
const QUICK: Partial<CourierOptions> = { firstDelayMs: 2, longestDelayMs: 8, locks: null }
const problem = (status: number, code: string, more = {}) => new Problem({ status, code, ...more })
const open = () => Outbox.open(NAME)

let outbox: Outbox
let running: Courier[]
beforeEach(async () => {
  globalThis.indexedDB = new IDBFactory()
  outbox = await open()
  running = []
})
afterEach(() => running.forEach((one) => one.stop()))

async function press(subject: string, action: string, at = 1_795_000_000_000, lane = 'tasks', owner = 'zhang'): Promise<Press> {
  return await outbox.add(owner, { lane, subject, action, path: `/tasks/${subject}/${action}`, body: {} }, at)
}
function courier(post: (press: Press) => Promise<unknown>, answered?: (outcome: Outcome) => void, lane = 'tasks'): Courier {
  const one = new Courier(outbox, 'zhang', lane, post, answered, QUICK)
  running.push(one)
  one.start()
  return one
}
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let round = 0; round < 1000; round += 1) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error('It did not come to that.')
}
const empty = async () => (await outbox.waiting('zhang')).length === 0

/** A server that knows its keys, as ours does: a repeated key is answered as the first time and does nothing. */
class Server {
  done: string[] = []
  heard: string[] = []
  private answers = new Map<string, unknown>()
  take({ key, subject, action }: Press): unknown {
    this.heard.push(key)
    if (!this.answers.has(key)) {
      this.done.push(`${subject} ${action}`)
      this.answers.set(key, { subject, action })
    }
    return this.answers.get(key)
  }
}

describe('the outbox of presses', () => {
  it('keeps a press with its key and the moment it was made until it is answered', async () => {
    const made = await press('a', 'accept', Date.UTC(2026, 10, 30, 6, 0, 5))
    expect(made.body).toEqual({ device_at: '2026-11-30T06:00:05.000Z' })
    outbox.close()
    outbox = await open()
    expect(await outbox.waiting('zhang')).toEqual([made])
    expect(await outbox.waiting('li')).toEqual([])
  })

  it('sends the same key again when the answer was lost, and it is done once', async () => {
    const server = new Server()
    const { key } = await press('a', 'accept')
    let lost = 0
    courier(async (one) => {
      const answer = server.take(one)
      if (lost < 3) {
        lost += 1
        throw new Offline()
      }
      return answer
    })
    await until(empty)
    expect(server.heard).toEqual([key, key, key, key])
    expect(server.done).toEqual(['a accept'])
  })

  it('sends what was pressed about one thing in order, also over failures', async () => {
    const server = new Server()
    for (const action of ['accept', 'depart', 'arrive', 'resolve']) await press('a', action)
    let attempts = 0
    courier(async (one) => {
      attempts += 1
      if (attempts % 2) throw attempts % 3 ? new Offline() : problem(503, 'busy')
      return server.take(one)
    })
    await until(empty)
    expect(server.done).toEqual(['a accept', 'a depart', 'a arrive', 'a resolve'])
  })

  it('is not held up by a thing that the server fails at', async () => {
    const server = new Server()
    await press('poison', 'accept')
    await press('poison', 'depart')
    await press('b', 'accept')
    courier(async (one) => {
      if (one.subject === 'poison') throw problem(500, 'internal')
      return server.take(one)
    })
    await until(async () => (await outbox.waiting('zhang')).length === 2)
    expect(server.done).toEqual(['b accept'])
    expect((await outbox.waiting('zhang')).map(({ action }) => action)).toEqual(['accept', 'depart'])
  })

  it.each([400, 403, 404, 409, 410, 422])('sets a press aside that is refused with %i, says what was found, and goes on', async (status) => {
    const server = new Server()
    await press('a', 'accept')
    await press('a', 'depart')
    await press('b', 'accept')
    const told: Outcome[] = []
    courier(
      async (one) => {
        if (one.subject === 'a' && one.action === 'accept') throw problem(status, 'wrong_state', { current: 'cancelled' })
        return server.take(one)
      },
      (outcome) => void told.push(outcome),
    )
    await until(empty)
    expect(server.done).toEqual(['a depart', 'b accept'])
    const [refused] = await outbox.refused('zhang')
    expect(refused).toMatchObject({ action: 'accept', refusal: { status, code: 'wrong_state', current: 'cancelled' } })
    expect(told.map(({ press: { subject, action }, problem: trouble }) => [subject, action, trouble?.status])).toEqual([
      ['a', 'accept', status],
      ['a', 'depart', undefined],
      ['b', 'accept', undefined],
    ])
    await outbox.settle(refused!.n)
    expect(await outbox.refused('zhang')).toEqual([])
  })

  it('goes on after a restart of the app where it stopped, with the same keys and times', async () => {
    const server = new Server()
    const made = [await press('a', 'depart', 1_795_000_000_000), await press('a', 'arrive', 1_795_000_300_000)]
    const first = courier(async (one) => {
      server.take(one)
      // The answer never comes: the app is gone before.
      return await new Promise(() => undefined)
    })
    await until(() => server.heard.length === 1)
    first.stop()
    outbox.close()
    outbox = await open()
    const seen: Press[] = []
    courier(async (one) => {
      seen.push(one)
      return server.take(one)
    })
    await until(empty)
    expect(seen.map(({ key }) => key)).toEqual(made.map(({ key }) => key))
    expect(seen.map(({ body }) => body.device_at)).toEqual(made.map(({ pressed_at }) => pressed_at))
    expect(server.done).toEqual(['a depart', 'a arrive'])
  })

  it('stops for somebody who is signed out, and keeps his presses', async () => {
    await press('a', 'accept')
    const one = courier(async () => {
      throw problem(401, 'session_expired')
    })
    await until(() => one.state.value.trouble === 'signed_out')
    expect((await outbox.waiting('zhang')).length).toBe(1)
  })

  it('lets a call for help pass whatever else waits', async () => {
    const server = new Server()
    await press('a', 'accept')
    await press('me', 'call', undefined, 'sos')
    courier(() => new Promise(() => undefined))
    courier(async (one) => server.take(one), undefined, 'sos')
    await until(() => server.done.length > 0)
    expect(server.done).toEqual(['me call'])
  })

  it('waits longer after each failure, and not at all when the network is back', async () => {
    await press('a', 'accept')
    let attempts = 0
    const one = new Courier(outbox, 'zhang', 'tasks', async () => {
      attempts += 1
      if (attempts < 3) throw new Offline()
    }, undefined, { firstDelayMs: 3_600_000, longestDelayMs: 7_200_000, random: () => 1, now: () => 0, locks: null })
    running.push(one)
    one.start()
    await until(() => one.state.value.retryAt === 3_600_000)
    expect(one.state.value.trouble).toBe('offline')
    one.hurry()
    await until(() => attempts === 2)
    one.hurry()
    await until(empty)
    expect(one.state.value.trouble).toBeNull()
  })

  const presses = 'tests/presses'
  it.each(readdirSync(presses))('drains what the release of %s has left on the phone (F26)', async (file) => {
    const left = JSON.parse(readFileSync(`${presses}/${file}`, 'utf8')) as { owner: string; presses: Press[] }
    outbox.close()
    const db = await openDB(NAME)
    for (const one of left.presses) await db.put('presses', one)
    db.close()
    outbox = await open()
    const sent: string[] = []
    const one = new Courier(outbox, left.owner, 'tasks', async ({ path, key }) => void sent.push(`${path} ${key}`), undefined, QUICK)
    running.push(one)
    one.start()
    await until(async () => (await outbox.waiting(left.owner)).length === 0)
    expect(sent).toEqual(left.presses.map(({ path, key }) => `${path} ${key}`))
  })

  it('leaves alone what a newer release has written', async () => {
    const db = await openDB(NAME)
    await db.put('presses', { v: 2, n: 1, owner: 'zhang', lane: 'tasks', state: 0, what: 'unknown' })
    db.close()
    expect(await outbox.waiting('zhang')).toEqual([])
    await press('a', 'accept')
    expect((await outbox.waiting('zhang')).map(({ n }) => n)).toEqual([2])
  })
})
