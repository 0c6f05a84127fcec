import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ref, shallowRef } from 'vue'
import { compareAnswers, pressedBefore, share } from '@/desk/calls/order'
import type { CallAnswer, DeskCall } from '@/desk/types'
import { createCalls, inOrder, placeOf, type Calls } from '@/officer/calls'
import type { Duty } from '@/officer/duty'
import type { Here } from '@/officer/recorder'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change, Changes } from '@/shared/changes'
import type { Session } from '@/shared/session'
import type { OfficerCall } from '@/shared/types'

function call(id: string, more: Partial<OfficerCall> = {}): OfficerCall {
  return {
    id, kind: 'roll_call', state: 'open', my_state: 'asked', version: 1,
    area: { id: 'a', name: { 'zh-CN': '镇', en: 'Town' } } as OfficerCall['area'],
    call_sign: null, text: null, created_at: '2026-11-30T06:00:00Z', ends_at: '2026-11-30T06:05:00Z', answered_at: null,
    actions: ['answer'], ...more,
  }
}
const HERE: Here = { place: [121.3, 31.1], accuracy_m: 7, heading_deg: null, speed_mps: null, t: Date.parse('2026-11-30T06:00:30Z') }

/** A server of one officer's calls. */
class Server {
  calls = new Map<string, OfficerCall>()
  posts: { path: string; body: Record<string, unknown>; key?: string }[] = []
  down = false
  refusing: Problem | null = null
  api = {
    get: async () => {
      if (this.down) throw new Offline()
      return { items: [...this.calls.values()], next: null }
    },
    post: async (path: string, body: Record<string, unknown>, options?: { idempotencyKey?: string }) => {
      if (this.down) throw new Offline()
      this.posts.push({ path, body, ...(options?.idempotencyKey ? { key: options.idempotencyKey } : {}) })
      if (path.endsWith('/received')) return { news: 1 }
      if (this.refusing) throw this.refusing
      const id = path.split('/')[5]!
      const done = { ...this.calls.get(id)!, my_state: 'answered' as const, version: 2, actions: [] }
      this.calls.delete(id)
      return done
    },
  } as unknown as Api
  answers = () => this.posts.filter(({ path }) => path.endsWith('/answer'))
}

describe('the desk calls, and the phone answers', () => {
  let server: Server
  let calls: Calls
  let tell: (change: Change | null) => void
  let rung: string[]

  async function open(): Promise<void> {
    rung = []
    calls = createCalls(
      { user: ref({ id: 'o' }) } as unknown as Session,
      server.api,
      { shift: shallowRef({ id: 's' }), tellFirst: () => undefined } as unknown as Duty,
      { connected: ref(true), want: () => undefined, onChange: (one: typeof tell) => (tell = one) } as unknown as Changes,
      { alert: ({ id }) => rung.push(id), here: () => HERE, now: () => Date.parse('2026-11-30T06:01:00Z') },
    )
    await calls.begin()
  }
  beforeEach(async () => {
    globalThis.indexedDB = new IDBFactory()
    const kept = new Map<string, string>()
    vi.stubGlobal('localStorage', {
      getItem: (at: string) => kept.get(at) ?? null, setItem: (at: string, value: string) => kept.set(at, value), removeItem: (at: string) => kept.delete(at),
    })
    vi.stubGlobal('document', { visibilityState: 'visible', addEventListener: () => undefined, removeEventListener: () => undefined })
    vi.stubGlobal('addEventListener', () => undefined)
    vi.stubGlobal('removeEventListener', () => undefined)
    server = new Server()
    await open()
  })
  afterEach(() => {
    calls.leave()
    vi.unstubAllGlobals()
  })

  it('rings once for each call that comes, and says that the phone has it', async () => {
    server.calls.set('1', call('1'))
    tell({ kind: 'task', id: '1', version: 1, action: 'offer' })
    expect(calls.shown.value).toEqual([])
    tell({ kind: 'call', id: '1', version: 1, action: 'create' })
    await vi.waitFor(() => expect(calls.open.value).toBe(1))
    await calls.refresh()
    expect(rung).toEqual(['1'])
    expect(server.posts).toEqual([{ path: '/api/v1/officer/calls/received', body: { ids: ['1'] } }])
  })

  it('answers with the place of the recorder, and with one key for two presses of one thumb', async () => {
    server.calls.set('1', call('1'))
    await calls.refresh()
    await Promise.all([calls.answer(calls.shown.value[0]!.call), calls.answer(calls.shown.value[0]!.call)])
    await vi.waitFor(() => expect(calls.shown.value).toEqual([]))
    expect(server.answers()).toHaveLength(1)
    expect(server.answers()[0]!.body).toEqual({
      place: { lon: 121.3, lat: 31.1, accuracy_m: 7, fixed_at: '2026-11-30T06:00:30.000Z' }, device_at: '2026-11-30T06:01:00.000Z',
    })
    expect(calls.outcome.value?.call?.my_state).toBe('answered')
  })

  it('acknowledges a text without saying where the officer is', async () => {
    server.calls.set('1', call('1', { kind: 'broadcast', text: 'x' }))
    await calls.refresh()
    await calls.answer(calls.shown.value[0]!.call)
    await vi.waitFor(() => expect(server.answers()).toHaveLength(1))
    expect(server.answers()[0]!.body.place).toBeNull()
  })

  it('keeps a tap without a network through a restart, and sends it with its own time', async () => {
    server.calls.set('1', call('1'))
    await calls.refresh()
    server.down = true
    await calls.answer(calls.shown.value[0]!.call)
    expect(calls.shown.value[0]!.pending).toBe(true)
    expect(calls.open.value).toBe(0)
    const before = calls
    await open()
    expect(before).not.toBe(calls)
    expect(calls.shown.value.map(({ pending }) => pending)).toEqual([true])
    expect(rung).toEqual([])
    server.down = false
    before.leave()
    calls.leave()
    await open()
    await vi.waitFor(() => expect(server.answers().length).toBeGreaterThan(0))
    expect(server.answers()[0]!.body.device_at).toBe('2026-11-30T06:01:00.000Z')
  })

  it('forgets a tap that was refused, and says so', async () => {
    server.calls.set('1', call('1'))
    await calls.refresh()
    server.refusing = new Problem({ status: 409, code: 'wrong_state', current: 'excused' })
    server.calls.delete('1')
    await calls.answer(calls.shown.value[0]!.call)
    await vi.waitFor(() => expect(calls.outcome.value?.problem?.code).toBe('wrong_state'))
    await vi.waitFor(() => expect(calls.shown.value).toEqual([]))
    expect(calls.waiting.value).toEqual([])
  })
})

it('shows first what ends first, and last what was missed', () => {
  const shown = [call('1', { my_state: 'missed' }), call('2', { ends_at: '2026-11-30T07:00:00Z' }), call('3')].map((one) => ({ call: one, pending: false }))
  expect(shown.sort(inOrder).map((one) => one.call.id)).toEqual(['3', '2', '1'])
  expect(placeOf(null)).toBeNull()
})

describe('at the desk', () => {
  const answer = (state: CallAnswer['state'], more: Partial<CallAnswer> = {}) =>
    ({ id: state, state, officer: { id: state, display_name: state }, answered_at: null, answered_device_at: null, ...more }) as CallAnswer

  it('lists first who has not answered', () => {
    const order = (['answered', 'excused', 'late', 'missed', 'asked'] as const).map((state) => answer(state)).sort(compareAnswers)
    expect(order.map(({ state }) => state)).toEqual(['missed', 'asked', 'late', 'answered', 'excused'])
  })
  it('counts late answers as answers, and nobody who is excused', () => {
    const counts = { asked: 5, received: 5, answered: 1, late: 1, missed: 2, excused: 1, waiting: 0 }
    expect(share({ counts } as DeskCall)).toBe(0.5)
    expect(share({ counts: { ...counts, asked: 1, answered: 0, late: 0 } } as DeskCall)).toBe(1)
  })
  it('tells the time of the phone where it says something', () => {
    const at = { answered_at: '2026-11-30T06:10:00Z' }
    expect(pressedBefore(answer('late', { ...at, answered_device_at: '2026-11-30T06:01:00Z' }))).toBe(true)
    expect(pressedBefore(answer('answered', { ...at, answered_device_at: '2026-11-30T06:09:58Z' }))).toBe(false)
    expect(pressedBefore(answer('asked'))).toBe(false)
  })
})
