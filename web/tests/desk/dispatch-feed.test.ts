import { ref } from 'vue'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createDispatchFeed } from '@/desk/dispatch/feed'
import { Offline, Problem, type Api } from '@/shared/api'
import type { LiveSocket, SocketState } from '@/shared/socket'

const TASKS = '/api/v1/desk/tasks'
const ALARMS = '/api/v1/desk/alarms'
const task = (id: string, version = 1, more = {}) => ({ id, version, closed_at: null, cancelled_at: null, ...more })
const alarm = (id: string, version = 1, more = {}) => ({ id, version, cleared_at: null, dismissed_at: null, ...more })

function setUp() {
  const state = ref<SocketState>('connecting')
  const generation = ref(0)
  const listeners = new Map<string, (...args: never[]) => void>()
  const socket = {
    state,
    generation,
    lostAt: ref(null),
    on: (event: string, listener: (...args: never[]) => void) => void listeners.set(event, listener),
  } as unknown as LiveSocket
  type Question = { path: string; query: Record<string, unknown>; give: (value: unknown) => void; fail: (e: unknown) => void }
  const open: Question[] = []
  const asked: string[] = []
  const api = {
    get: (path: string, query?: Record<string, unknown>) =>
      new Promise((give, fail) => {
        asked.push(path)
        open.push({ path, query: query ?? {}, give, fail })
      }),
  } as unknown as Api
  const feed = createDispatchFeed(socket, api, { random: () => 0.5 })
  const settle = () => vi.advanceTimersByTimeAsync(0)
  async function answer(path: string, value: unknown) {
    const at = open.findIndex((one) => one.path === path)
    expect(at, `${path} was asked for`).toBeGreaterThanOrEqual(0)
    const [question] = open.splice(at, 1)
    if (value instanceof Error) question!.fail(value)
    else question!.give(value)
    await settle()
    return question!
  }
  return {
    feed,
    asked,
    open,
    answer,
    async connect() {
      generation.value += 1
      state.value = 'connected'
      await settle()
    },
    lose: () => void (state.value = 'lost'),
    async lists(alarms: unknown[], tasks: unknown[]) {
      await answer(ALARMS, { items: alarms, next: null })
      await answer(TASKS, { items: tasks, next: null })
    },
    async say(kind: string, id: string, version: number, action = 'x') {
      listeners.get('changed')!({ kind, id, version, action } as never)
      await vi.advanceTimersByTimeAsync(150)
    },
    behind: () => listeners.get('behind')!({} as never),
  }
}

describe('the feed of tasks and alarms', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('reads alarms first and tasks after them, all pages, only what is open', async () => {
    const { feed, connect, answer } = setUp()
    await connect()
    expect((await answer(ALARMS, { items: [alarm('a')], next: 'more' })).query.open).toBe(true)
    expect((await answer(ALARMS, { items: [alarm('b')], next: null })).query.cursor).toBe('more')
    expect(feed.complete.value).toBe(false)
    expect((await answer(TASKS, { items: [task('t')], next: null })).query.unfinished).toBe(true)
    expect([...feed.alarms.open.keys()]).toEqual(['a', 'b'])
    expect(feed.tasks.open.has('t')).toBe(true)
    expect(feed.complete.value).toBe(true)
    expect(feed.behind.value).toBe(false)
    feed.close()
  })

  it('fetches the one thing that has changed, and not what it knows already', async () => {
    const { feed, connect, lists, say, answer, asked } = setUp()
    await connect()
    await lists([], [task('t', 3)])
    const before = asked.length
    await say('task', 't', 3)
    await say('officer', 't', 9)
    expect(asked.length).toBe(before)
    await say('task', 't', 4)
    await answer(`${TASKS}/t`, task('t', 4))
    expect(feed.tasks.find('t')?.version).toBe(4)
    await say('alarm', 'new', 1, 'raise')
    await answer(`${ALARMS}/new`, alarm('new'))
    expect(feed.alarms.open.has('new')).toBe(true)
    feed.close()
  })

  it('asks once more when a thing has changed while it was asked for', async () => {
    const { feed, connect, lists, say, answer, asked } = setUp()
    await connect()
    await lists([], [task('t', 1)])
    await say('task', 't', 2)
    await say('task', 't', 3)
    expect(asked.filter((path) => path === `${TASKS}/t`)).toHaveLength(1)
    await answer(`${TASKS}/t`, task('t', 2))
    await answer(`${TASKS}/t`, task('t', 3))
    expect(feed.tasks.find('t')?.version).toBe(3)
    feed.close()
  })

  it('drops what has ended, remembers how, and an older page does not bring it back', async () => {
    const { feed, connect, lists, say, answer } = setUp()
    await connect()
    await lists([alarm('a', 1)], [task('t', 1)])
    feed.retry()
    await say('alarm', 'a', 2)
    await answer(`${ALARMS}/a`, alarm('a', 2, { cleared_at: '2026-11-23T08:00:00Z' }))
    expect(feed.alarms.open.size).toBe(0)
    await lists([alarm('a', 1)], [task('t', 1)])
    expect(feed.alarms.open.size).toBe(0)
    expect(feed.alarms.find('a')?.cleared_at).toBeTruthy()
    feed.close()
  })

  it('keeps what was heard of while the list was read, and looks at how the missing ended', async () => {
    const { feed, connect, lists, say, answer } = setUp()
    await connect()
    await lists([], [task('old', 1), task('stays', 1)])
    feed.retry()
    await answer(ALARMS, { items: [], next: null })
    await say('task', 'new', 1, 'create')
    await answer(`${TASKS}/new`, task('new', 1))
    await answer(TASKS, { items: [task('stays', 1)], next: null })
    await answer(`${TASKS}/old`, task('old', 2, { closed_at: '2026-11-23T08:00:00Z' }))
    expect([...feed.tasks.open.keys()].sort()).toEqual(['new', 'stays'])
    expect(feed.tasks.find('old')?.closed_at).toBeTruthy()
    feed.close()
  })

  it('reads the lists again after a reconnect and when the server says that something was missed', async () => {
    const { feed, connect, lose, lists, behind, asked } = setUp()
    await connect()
    await lists([], [])
    const before = asked.length
    lose()
    expect(feed.behind.value).toBe(true)
    await connect()
    await vi.advanceTimersByTimeAsync(700)
    expect(asked.length, 'not all desks at once').toBe(before)
    await vi.advanceTimersByTimeAsync(100)
    await lists([alarm('a')], [])
    expect(feed.behind.value).toBe(false)
    behind()
    expect(feed.behind.value).toBe(true)
    await vi.advanceTimersByTimeAsync(800)
    await lists([], [])
    await vi.advanceTimersByTimeAsync(0)
    expect(asked.at(-1)).toBe(`${ALARMS}/a`)
    feed.close()
  })

  it('goes on reading while the socket is away, so that an SOS comes through all the same', async () => {
    const { feed, connect, lose, lists } = setUp()
    await connect()
    await lists([], [])
    lose()
    await vi.advanceTimersByTimeAsync(5_100)
    await lists([alarm('sos')], [])
    expect(feed.alarms.open.has('sos')).toBe(true)
    expect(feed.behind.value, 'it is not live').toBe(true)
    feed.close()
  })

  it('reads the lists where the socket never comes', async () => {
    const { feed, lists } = setUp()
    await vi.advanceTimersByTimeAsync(2_100)
    await lists([alarm('sos')], [])
    expect(feed.alarms.open.size).toBe(1)
    feed.close()
  })

  it('says that it cannot read, tries again, and takes a thing away that is not there any more', async () => {
    const { feed, connect, lists, answer, say } = setUp()
    await connect()
    await answer(ALARMS, new Offline())
    expect(feed.failing.value).toBe(true)
    await vi.advanceTimersByTimeAsync(6_000)
    await lists([], [task('t')])
    expect(feed.failing.value).toBe(false)
    await say('task', 't', 2)
    await answer(`${TASKS}/t`, new Problem({ status: 404, code: 'not_visible' }))
    expect(feed.tasks.open.size).toBe(0)
    feed.close()
  })

  it('asks for the lists when very much has changed at once', async () => {
    const { feed, connect, lists, say, asked } = setUp()
    await connect()
    await lists([], [])
    const before = asked.length
    const saying = Array.from({ length: 20 }, (_, n) => say('task', `t${n}`, 1))
    await Promise.all(saying)
    expect(asked.slice(before)).toEqual([ALARMS])
    feed.close()
  })

  it('takes the answer to an act at once, and an older answer does not undo it', async () => {
    const { feed, connect, lists, say, answer } = setUp()
    await connect()
    await lists([alarm('a', 1)], [])
    await say('alarm', 'a', 2)
    feed.took('alarm', alarm('a', 3, { state: 'acknowledged' }) as never)
    await answer(`${ALARMS}/a`, alarm('a', 2))
    expect(feed.alarms.find('a')?.version).toBe(3)
    feed.close()
  })
})
