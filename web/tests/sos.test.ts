import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ref } from 'vue'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change, Changes } from '@/shared/changes'
import type { Session } from '@/shared/session'
import { createSos, seenBy, textMessage, type Call, type Sos, type Where } from '@/shared/sos'

const NOW = Date.UTC(2026, 10, 30, 6, 0, 0)
const known = (ageMs: number): Where => ({ place: [121.3, 31.1], accuracy_m: 8, t: NOW - ageMs })

let told: { body: Record<string, unknown>; key: string | undefined }[]
let down: boolean
let refusing: Problem | null
let alarms: Map<string, Call>
let here: Where | null
let answerLocation: ((lon: number, lat: number) => void) | null
let say: (change: Change | null) => void
let wanted: boolean
let open: Sos[]
/** What the open channel answers; null where there is none. */
let overSocket: (event: string, said: unknown) => Promise<unknown> | null

const api = {
  get: async () => {
    if (down) throw new Offline()
    return { items: [...alarms.values()].reverse(), next: null }
  },
  post: async (_path: string, body: Record<string, unknown>, options?: { idempotencyKey?: string }) => {
    if (down) throw new Offline()
    told.push({ body, key: options?.idempotencyKey })
    if (refusing) throw refusing
    const before = [...alarms.values()].find(({ state }) => state !== 'cleared' && state !== 'false')
    const call = before
      ? { ...before, version: before.version + 1 }
      : ({ id: String(body.id), number: alarms.size + 1, state: 'raised', raised_at: '2026-11-30T06:00:01Z', acknowledged_at: null, acknowledged_by: null, dispatched_at: null, responders: [], cleared_at: null, version: 1 } as Call)
    alarms.set(call.id, call)
    return call
  },
} as unknown as Api

function phone(): Sos {
  const session = { user: ref({ id: 'zhang' }), signedIn: ref(true) } as unknown as Session
  const changes: Changes = {
    connected: ref(true) as unknown as Changes['connected'],
    want: (_why, yes) => void (wanted = yes),
    onChange: (listener) => (say = listener),
    onNotice: () => undefined,
    ask: (event, said) => overSocket(event, said) as never,
  }
  const sos = createSos(session, api, changes, 'officer', {
    here: () => here,
    geolocation: {
      getCurrentPosition: (found) => {
        answerLocation = (longitude, latitude) =>
          found({ coords: { longitude, latitude, accuracy: 5 }, timestamp: NOW } as unknown as GeolocationPosition)
      },
    },
    vibrate: () => undefined,
    now: () => NOW,
  })
  open.push(sos)
  return sos
}
async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; round < 1000; round += 1) {
    if (condition()) return
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  throw new Error('It did not come to that.')
}
beforeEach(() => {
  globalThis.indexedDB = new IDBFactory()
  told = []
  down = false
  refusing = null
  alarms = new Map()
  here = known(2_000)
  answerLocation = null
  wanted = false
  overSocket = () => null
  open = []
})
afterEach(() => open.forEach((one) => one.leave()))

describe('a call for help', () => {
  it('goes at once with the newest place, and the phone is not asked for a better one', async () => {
    const sos = phone()
    await sos.begin()
    await sos.call()
    await until(() => sos.open.value !== null)
    expect(told).toHaveLength(1)
    expect(told[0]!.body).toMatchObject({ device_at: '2026-11-30T06:00:00.000Z', place: { lon: 121.3, lat: 31.1, accuracy_m: 8, fixed_at: '2026-11-30T05:59:58.000Z' } })
    expect(told[0]!.body.id).toBe(sos.open.value!.id)
    expect(answerLocation).toBeNull()
    await until(() => wanted)
  })

  it('does not wait for a place: it goes with an old one, or none, and the place follows', async () => {
    for (const place of [null, known(600_000)]) {
      here = place
      told = []
      alarms.clear()
      answerLocation = null
      const sos = phone()
      await sos.begin()
      await sos.call()
      await until(() => told.length === 1)
      expect('place' in told[0]!.body).toBe(place !== null)
      answerLocation!(121.35, 31.15)
      await until(() => told.length === 2)
      expect(told[1]!.body.place).toMatchObject({ lon: 121.35, lat: 31.15 })
      expect(told[1]!.key).not.toBe(told[0]!.key)
      expect(alarms.size).toBe(1)
      await until(() => sos.open.value !== null)
      sos.leave()
      globalThis.indexedDB = new IDBFactory()
    }
  })

  it('goes over the open channel, and once more with the same key where that does not answer well', async () => {
    const said: { key: string; body: string }[] = []
    const taken = { id: 'c', state: 'raised', version: 1, responders: [] }
    for (const [answer, byRest] of [
      [async () => ({ status: 201, body: JSON.stringify(taken) }), 0],
      [async () => ({ error: 'refused', status: 403 }), 1],
      [async () => Promise.reject(new Error('timeout')), 1],
    ] as const) {
      said.length = told.length = 0
      alarms.clear()
      overSocket = (event, call) => {
        expect(event).toBe('sos')
        said.push(call as { key: string; body: string })
        return answer()
      }
      const sos = phone()
      await sos.begin()
      await sos.call()
      await until(() => sos.open.value !== null)
      expect([said.length, told.length]).toEqual([1, byRest])
      if (byRest) expect([told[0]!.key, JSON.stringify(told[0]!.body)]).toEqual([said[0]!.key, said[0]!.body])
      sos.leave()
      globalThis.indexedDB = new IDBFactory()
    }
  })

  it('tells nobody where the phone is before the call', async () => {
    here = null
    const sos = phone()
    await sos.begin()
    sos.prepare()
    answerLocation!(121.35, 31.15)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(told).toEqual([])
    await sos.call()
    await until(() => told.length === 1)
    expect(told[0]!.body.place).toMatchObject({ lon: 121.35, lat: 31.15 })
  })

  it('waits for the network over a restart, and arrives once', async () => {
    down = true
    let sos = phone()
    await sos.begin()
    await sos.call()
    expect(sos.unsent.value).toBe(true)
    sos.leave()
    sos = phone()
    await sos.begin()
    expect(sos.unsent.value).toBe(true)
    down = false
    sos.hurry()
    await until(() => sos.open.value !== null)
    expect(sos.unsent.value).toBe(false)
    expect(told).toHaveLength(1)
  })

  it('shows who answers as the channel tells, and ends with the alarm', async () => {
    const sos = phone()
    await sos.begin()
    await sos.call()
    await until(() => sos.open.value !== null)
    const { id } = sos.open.value!
    alarms.set(id, { ...alarms.get(id)!, version: 2, state: 'acknowledged', acknowledged_at: '2026-11-30T06:00:09Z', acknowledged_by: { id: 'li', display_name: '李静' } } as Call)
    say({ kind: 'alarm', id, version: 2, action: 'acknowledge' })
    await until(() => sos.open.value !== null && seenBy(sos.open.value) === '李静')
    expect(seenBy({ ...sos.open.value!, acknowledged_by: 'desk' } as Call), 'a resident reads that the desk has').toBeNull()
    alarms.set(id, { ...alarms.get(id)!, version: 3, state: 'cleared', cleared_at: '2026-11-30T06:20:00Z' })
    say(null)
    await until(() => sos.open.value === null)
    expect(sos.calling.value).toBe(false)
    expect(wanted).toBe(false)
  })

  it('says so when the server does not take it', async () => {
    refusing = new Problem({ status: 404, code: 'not_found' })
    const sos = phone()
    await sos.begin()
    await sos.call()
    await until(() => sos.refused.value.length === 1)
    await sos.acknowledge()
    expect(sos.refused.value).toEqual([])
  })
})

it('writes the text message for the phone', () => {
  expect(textMessage('12110', '求助 31.1, 121.3')).toBe(`sms:12110?&body=${encodeURIComponent('求助 31.1, 121.3')}`)
})
