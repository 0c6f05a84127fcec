/** What the officer's tasks, reports and calls share: presses that are sent once, and a watch that misses nothing. */
import { IDBFactory } from 'fake-indexeddb'
import 'fake-indexeddb/auto'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ref } from 'vue'
import { keepList, recallList } from '@/officer/kept'
import { createLane, newest, type Lane, type Work } from '@/officer/lane'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import type { Session } from '@/shared/session'

const START = Date.parse('2026-11-30T06:00:00Z')
interface Sent {
  path: string
  body: Record<string, unknown>
  key: string
}

let nowMs: number
let down: boolean
let refusing: Problem | null
let sent: Sent[]
let taken: unknown[]
let asked: number
let polled: boolean
let ends: number[]
let lane: Lane
const user = ref<{ id: string } | null>(null)
const connected = ref(false)

const api = {
  post: async (path: string, body: Record<string, unknown>, { idempotencyKey: key }: { idempotencyKey: string }) => {
    if (down) throw new Offline()
    if (refusing) throw refusing
    sent.push({ path, body, key })
    return { path }
  },
} as unknown as Api

function opened(more: Partial<Work<unknown>> = {}): Lane {
  lane = createLane<unknown>({ user } as unknown as Session, api, { connected } as unknown as Changes, {
    lane: 'tests',
    now: () => nowMs,
    depart: () => undefined,
    refresh: async () => void (asked += 1),
    take: (answer) => taken.push(answer),
    polled: () => polled,
    ends: () => ends,
    ...more,
  })
  return lane
}
const press = (subject: string) => ({ subject, action: 'press', path: `/${subject}`, body: { note: 'x' } })
const settled = (check: () => void) => vi.waitFor(check, { timeout: 4_000 })
/** Time passes, and with it the lane's ticks; each question to the server is one of that moment. */
function pass(ms: number): void {
  for (let left = ms; left > 0; left -= 1_000) {
    nowMs += 1_000
    vi.advanceTimersByTime(1_000)
  }
}
function look(state: 'visible' | 'hidden'): void {
  Object.defineProperty(document, 'visibilityState', { value: state, configurable: true })
  document.dispatchEvent(new Event('visibilitychange'))
}

beforeEach(() => {
  // The store has timers of its own, which go on.
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  globalThis.indexedDB = new IDBFactory()
  localStorage.clear()
  user.value = { id: 'zhang' }
  connected.value = down = polled = false
  refusing = null
  nowMs = START
  asked = 0
  sent = []
  taken = []
  ends = []
  opened()
})
afterEach(() => {
  lane.leave()
  look('visible')
  vi.useRealTimers()
})

describe('presses', () => {
  it('are sent once, each with its own key and the time it was made, and what is taken is told', async () => {
    await lane.begin()
    await lane.press(press('1'))
    nowMs += 5_000
    await lane.press(press('2'))
    await settled(() => expect(taken).toEqual([{ path: '/1' }, { path: '/2' }]))
    expect(sent.map(({ body }) => body)).toEqual([
      { note: 'x', device_at: '2026-11-30T06:00:00.000Z' }, { note: 'x', device_at: '2026-11-30T06:00:05.000Z' },
    ])
    expect(new Set(sent.map(({ key }) => key)).size).toBe(2)
    expect(lane.waiting.value).toEqual([])
  })

  it('count as one where a thumb was hasty, and are not taken from nobody', async () => {
    await lane.press(press('1'))
    await lane.begin()
    down = true
    await Promise.all([lane.pressOnce(press('1')), lane.pressOnce(press('1'))])
    expect(lane.waiting.value).toHaveLength(1)
    await settled(() => expect(lane.sending.value.trouble).toBe('offline'))
  })

  it('that are refused are kept until they are read, and do not hold up the next', async () => {
    await lane.begin()
    refusing = new Problem({ status: 409, code: 'wrong_state' })
    await lane.press(press('1'))
    await settled(() => expect(lane.refused.value.map(({ refusal }) => refusal?.code)).toEqual(['wrong_state']))
    refusing = null
    await lane.press(press('2'))
    await settled(() => expect(sent.map(({ path }) => path)).toEqual(['/2']))
    await lane.dismiss(lane.refused.value[0]!)
    expect(lane.refused.value).toEqual([])
  })

  it('go at once on a phone without storage, and are refused to whoever pressed', async () => {
    globalThis.indexedDB = { open: () => { throw new Error('no storage') } } as unknown as IDBFactory
    await lane.begin()
    expect(lane.stored.value).toBe(false)
    await lane.press(press('1'))
    expect(sent).toMatchObject([{ path: '/1', body: { device_at: '2026-11-30T06:00:00.000Z' } }])
    expect(sent[0]!.key).toBeTruthy()
    expect(taken).toEqual([{ path: '/1' }])
    down = true
    await expect(lane.press(press('2'))).rejects.toBeInstanceOf(Offline)
  })

  it('are flushed before an end of duty is told, or left where there is no network', async () => {
    await lane.begin()
    down = true
    await lane.press(press('1'))
    await settled(() => expect(lane.sending.value.trouble).toBe('offline'))
    await lane.flush()
    expect(lane.waiting.value).toHaveLength(1)
    down = false
    await lane.flush()
    expect(sent).toHaveLength(1)
  })

  it('wait for their owner, and an answer that comes when he has left is shown to nobody', async () => {
    await lane.begin()
    down = true
    await lane.press(press('1'))
    lane.leave()
    expect(lane.waiting.value).toEqual([])
    user.value = { id: 'li' }
    down = false
    await lane.begin()
    expect([lane.waiting.value, sent]).toEqual([[], []])
    let answer: (given: unknown) => void = () => undefined
    const post = vi.spyOn(api, 'post').mockImplementation(() => new Promise<never>((resolve) => (answer = resolve as typeof answer)))
    await lane.press(press('2'))
    await settled(() => expect(post).toHaveBeenCalled())
    user.value = { id: 'zhang' }
    lane.leave()
    answer({ path: '/2' })
    post.mockRestore()
    await lane.begin()
    await settled(() => expect(taken).toEqual([{ path: '/1' }]))
    expect(sent.map(({ path }) => path)).toEqual(['/1'])
  })
})

describe('the watch', () => {
  it('asks when somebody comes, when the network is back, and when the page is looked at again; not of nobody', async () => {
    await lane.begin()
    await lane.begin()
    expect(asked).toBe(1)
    globalThis.dispatchEvent(new Event('online'))
    expect(asked).toBe(2)
    look('hidden')
    nowMs += 10_000
    look('visible')
    expect(asked).toBe(3)
    lane.leave()
    globalThis.dispatchEvent(new Event('online'))
    look('visible')
    pass(120_000)
    expect(asked).toBe(3)
  })

  it('asks by itself while that is wanted and the page is seen, and seldom with the live channel', async () => {
    opened({ refresh: () => lane.ask(async () => (asked += 1), () => undefined) })
    await lane.begin()
    pass(60_000)
    expect(asked).toBe(1)
    polled = true
    pass(60_000)
    expect(asked).toBe(5)
    connected.value = true
    pass(120_000)
    expect(asked).toBe(7)
    look('hidden')
    pass(120_000)
    expect(asked).toBe(7)
  })

  it('asks once more when something has ended by itself', async () => {
    opened({ refresh: () => lane.ask(async () => (asked += 1), () => undefined) })
    await lane.begin()
    ends = [START + 30_000]
    pass(30_000)
    expect(asked).toBe(1)
    pass(60_000)
    expect(asked).toBe(2)
  })

  it('drops an answer that a newer one has overtaken, and one for somebody who has left', async () => {
    await lane.begin()
    const answers: ((given: string) => void)[] = []
    const got: string[] = []
    const ask = () => lane.ask(() => new Promise<string>((resolve) => answers.push(resolve)), (answer) => got.push(answer))
    const both = [ask(), ask()]
    answers[1]!('newer')
    answers[0]!('older')
    await Promise.all(both)
    expect(got).toEqual(['newer'])
    const last = ask()
    lane.leave()
    answers[2]!('too late')
    await last
    expect(got).toEqual(['newer'])
    expect(lane.known.value).toBe(false)
  })

  it('knows why it knows nothing, until it does', async () => {
    await lane.begin()
    await lane.ask(async () => { throw new Offline() }, () => undefined)
    expect([lane.failure.value instanceof Offline, lane.known.value, lane.readAt.value]).toEqual([true, false, null])
    await lane.ask(async () => 1, () => undefined)
    expect([lane.failure.value, lane.known.value, lane.readAt.value]).toEqual([null, true, START])
    await expect(lane.ask(async () => { throw new TypeError('a mistake of ours') }, () => undefined)).rejects.toThrow('ours')
  })

  it('never puts an older version over a newer one', () => {
    const [one, two] = [{ id: '1', version: 1 }, { id: '2', version: 1 }]
    expect(newest([one, two], [{ id: '1', version: 2 }, { id: '3', version: 9 }])).toEqual([{ id: '1', version: 2 }, two])
  })
})

describe('what is kept', () => {
  it('is there after a restart, and gone when nothing is left of it', () => {
    keepList('at', 'tasks', [1, 2])
    expect([recallList('at', 'tasks'), recallList('at', 'calls'), recallList('elsewhere', 'tasks')]).toEqual([[1, 2], [], []])
    keepList('at', 'tasks', [])
    expect(localStorage.getItem('at')).toBeNull()
  })
  it('is nothing where a newer release wrote it, where it is broken, and where nothing can be kept', () => {
    localStorage.setItem('at', JSON.stringify({ v: 2, tasks: [1] }))
    expect(recallList('at', 'tasks')).toEqual([])
    localStorage.setItem('at', '{')
    expect(recallList('at', 'tasks')).toEqual([])
    vi.stubGlobal('localStorage', { setItem: () => { throw new Error('full') }, getItem: () => { throw new Error('none') } })
    keepList('at', 'tasks', [1])
    expect(recallList('at', 'tasks')).toEqual([])
    vi.unstubAllGlobals()
  })
})
