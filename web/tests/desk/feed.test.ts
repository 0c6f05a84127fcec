import { ref } from 'vue'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createFeed } from '@/desk/live/feed'
import { Problem, type Api } from '@/shared/api'
import type { LiveSocket, SocketState } from '@/shared/socket'
import type { DeskOfficer } from '@/desk/types'

function officer(id: string): DeskOfficer {
  return {
    id,
    display_name: id,
    kind: null,
    call_sign: null,
    area: { id: 'a', name: { 'zh-CN': '一', en: 'one' } },
    shift_id: `shift-${id}`,
    shift_started_at: '2026-11-23T08:00:00Z',
    status: 'unlocated',
    position: null,
    shift_version: 1,
    silent_after_s: 180,
  }
}

function setUp() {
  const state = ref<SocketState>('connecting')
  const generation = ref(0)
  const lostAt = ref<number | null>(null)
  const listeners = new Map<string, (...args: never[]) => void>()
  const socket = {
    state,
    generation,
    lostAt,
    on: (event: string, listener: (...args: never[]) => void) => void listeners.set(event, listener),
    retry: vi.fn(),
    close: vi.fn(),
  } as unknown as LiveSocket
  const answers: { path: string; query: Record<string, unknown>; give: (value: unknown) => void; fail: (e: unknown) => void }[] = []
  const api = {
    get: (path: string, query: Record<string, unknown>) =>
      new Promise((give, fail) => answers.push({ path, query: query ?? {}, give, fail })),
  } as unknown as Api
  const server = { answers: true }
  const probe = () => Promise.resolve(server.answers)
  const feed = createFeed({} as never, api, { open: () => socket, random: () => 0.5, probe })
  return {
    feed,
    answers,
    socket,
    server,
    connect() {
      lostAt.value = null
      state.value = 'connected'
      generation.value += 1
    },
    lose() {
      lostAt.value = Date.now()
      state.value = 'lost'
    },
    say: (event: string, value: unknown) => listeners.get(event)!(value as never),
  }
}

describe('the live feed', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('reads the whole list in pages when it connects, and is live then', async () => {
    const { feed, answers, connect } = setUp()
    connect()
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.state.value).toBe('loading')
    answers[0]!.give({ items: [officer('1')], next: 'c2' })
    await vi.advanceTimersByTimeAsync(0)
    expect(answers[1]!.query.cursor).toBe('c2')
    answers[1]!.give({ items: [officer('2')], next: null })
    await vi.advanceTimersByTimeAsync(0)
    expect([...feed.roster.officers.keys()]).toEqual(['1', '2'])
    expect(feed.state.value).toBe('live')
    feed.close()
  })

  it('says that the connection is lost, keeps what it knows, and catches up after a random pause', async () => {
    const { feed, answers, connect, lose } = setUp()
    connect()
    await vi.advanceTimersByTimeAsync(0)
    answers[0]!.give({ items: [officer('1'), officer('2')], next: null })
    await vi.advanceTimersByTimeAsync(0)
    lose()
    expect(feed.state.value).toBe('lost')
    expect(feed.roster.officers.size).toBe(2)
    connect()
    expect(feed.state.value).toBe('catching_up')
    expect(answers).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(700)
    expect(answers).toHaveLength(1)
    await vi.advanceTimersByTimeAsync(100)
    expect(answers).toHaveLength(2)
    answers[1]!.give({ items: [officer('2')], next: null })
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.state.value).toBe('live')
    expect([...feed.roster.officers.keys()]).toEqual(['2'])
    feed.close()
  })

  it('reads the list again when the connection was lost while it was read', async () => {
    const { feed, answers, connect, lose } = setUp()
    connect()
    await vi.advanceTimersByTimeAsync(0)
    lose()
    connect()
    answers[0]!.give({ items: [officer('1')], next: null })
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.state.value).not.toBe('live')
    await vi.advanceTimersByTimeAsync(1500)
    answers[1]!.give({ items: [officer('1')], next: null })
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.state.value).toBe('live')
    feed.close()
  })

  it('shows the list also where only the socket is blocked, and says that it is not live', async () => {
    const { feed, answers } = setUp()
    await vi.advanceTimersByTimeAsync(4100)
    expect(feed.state.value).toBe('lost')
    answers[0]!.give({ items: [officer('1')], next: null })
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.roster.officers.size).toBe(1)
    expect(feed.state.value).toBe('lost')
    feed.close()
  })

  it('asks for one officer whose shift begins, for the whole list when many begin, and drops whose shift ends', async () => {
    const { feed, answers, connect, say } = setUp()
    connect()
    await vi.advanceTimersByTimeAsync(0)
    answers[0]!.give({ items: [officer('1')], next: null })
    await vi.advanceTimersByTimeAsync(0)
    say('officer', { kind: 'shift', action: 'start', officer_id: '7', shift_id: 'x', version: 1 })
    await vi.advanceTimersByTimeAsync(500)
    expect(answers[1]!.path).toBe('/api/v1/desk/officers/7')
    answers[1]!.give(officer('7'))
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.roster.officers.has('7')).toBe(true)
    say('officer', { kind: 'shift', action: 'end', officer_id: '7', shift_id: 'shift-7', version: 2 })
    expect(feed.roster.officers.has('7')).toBe(false)
    for (let n = 10; n < 60; n += 1) {
      say('officer', { kind: 'shift', action: 'start', officer_id: String(n), shift_id: 'x', version: 1 })
    }
    await vi.advanceTimersByTimeAsync(500)
    expect(answers).toHaveLength(3)
    expect(answers[2]!.path).toBe('/api/v1/desk/officers')
    feed.close()
  })

  it('removes an officer of whom the server knows nothing any more', async () => {
    const { feed, answers, connect } = setUp()
    connect()
    await vi.advanceTimersByTimeAsync(0)
    answers[0]!.give({ items: [officer('1')], next: null })
    await vi.advanceTimersByTimeAsync(0)
    void feed.describe('1')
    answers[1]!.fail(new Problem({ status: 404, code: 'not_visible' }))
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.roster.officers.size).toBe(0)
    feed.close()
  })

  it('finds out by asking when a network has died without a word, and connects anew when it is back', async () => {
    const { feed, answers, connect, say, server, socket } = setUp()
    connect()
    await vi.advanceTimersByTimeAsync(0)
    answers[0]!.give({ items: [officer('1')], next: null })
    await vi.advanceTimersByTimeAsync(60_000)
    expect(feed.state.value, 'a quiet night is no lost connection').toBe('live')
    server.answers = false
    await vi.advanceTimersByTimeAsync(16_000)
    expect(feed.state.value).toBe('lost')
    expect(Date.now() - feed.lostAt.value!).toBeGreaterThan(11_000)
    expect(socket.retry).not.toHaveBeenCalled()
    server.answers = true
    await vi.advanceTimersByTimeAsync(4_000)
    expect(socket.retry).toHaveBeenCalled()
    say('positions', [])
    expect(feed.state.value).toBe('live')
    feed.close()
  })

  it('tries again when the list cannot be read, and says so meanwhile', async () => {
    const { feed, answers, connect } = setUp()
    connect()
    await vi.advanceTimersByTimeAsync(0)
    answers[0]!.fail(new Problem({ status: 503, code: 'unavailable' }))
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.failing.value).toBe(true)
    await vi.advanceTimersByTimeAsync(6000)
    answers[1]!.give({ items: [], next: null })
    await vi.advanceTimersByTimeAsync(0)
    expect(feed.failing.value).toBe(false)
    feed.close()
  })
})
