import { describe, expect, it } from 'vitest'
import { createApi, Offline, Problem } from '@/shared/api'
import { createSession, type SessionSurroundings } from '@/shared/session'
import type { Me } from '@/shared/types'

/** A server that rotates refresh tokens and ends the family when an old one comes back, as the real one does. */
function server() {
  const state = { refreshes: 0, reuses: 0, valid: '', issued: 0, deviceKey: '', forgives: false, dead: false, offline: false, holdMs: 5, requests: [] as Headers[] }
  const access = new Set<string>()
  const answer = (status: number, body: unknown) =>
    new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json' } })
  const issue = () => {
    state.issued += 1
    state.valid = `refresh-${state.issued}`
    access.clear()
    access.add(`access-${state.issued}`)
    return answer(200, {
      access_token: `access-${state.issued}`,
      expires_in_s: 900,
      refresh_token: state.valid,
      session_id: 'session',
      user: { id: 'zhang', display_name: '张', audiences: ['officer'] } as unknown as Me,
    })
  }
  const fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    await new Promise((resolve) => setTimeout(resolve, state.holdMs))
    if (state.offline) throw new TypeError('Failed to fetch')
    const path = String(input)
    const headers = new Headers(init?.headers)
    state.requests.push(headers)
    const body = init?.body ? JSON.parse(String(init.body)) : {}
    if (path.endsWith('/auth/login')) {
      state.deviceKey = body.device_key
      return issue()
    }
    if (path.endsWith('/auth/refresh')) {
      state.refreshes += 1
      if (state.dead) return answer(401, { code: 'session_ended' })
      // The real server forgives a race of ten seconds to the device key that the session began with, and to nobody else.
      const race = state.forgives && body.device_key === state.deviceKey
      if (body.refresh_token !== state.valid && !race) {
        state.reuses += 1
        state.dead = true
        return answer(401, { code: 'refresh_reused' })
      }
      return issue()
    }
    const token = headers.get('Authorization')?.slice(7) ?? ''
    return access.has(token) && !state.dead ? answer(200, { ok: true }) : answer(401, { code: 'invalid_token' })
  }
  return { state, fetch: fetch as typeof globalThis.fetch, expire: () => access.clear() }
}

/** One lock manager and one storage for all tabs of a browser. */
function browser() {
  const texts = new Map<string, string>()
  let last: Promise<unknown> = Promise.resolve()
  const locks = {
    request: (_name: string, ...rest: unknown[]) => {
      const work = rest[rest.length - 1] as () => Promise<unknown>
      const turn = last.then(() => work())
      last = turn.catch(() => undefined)
      return turn
    },
  } as unknown as SessionSurroundings['locks']
  const storage = {
    getItem: (key: string) => texts.get(key) ?? null,
    setItem: (key: string, value: string) => void texts.set(key, value),
    removeItem: (key: string) => void texts.delete(key),
  }
  return { texts, locks, storage }
}

async function tabs(count: number, withLocks = true) {
  const service = server()
  const { locks, storage, texts } = browser()
  let now = 1_795_000_000_000
  const around = { storage, locks: withLocks ? locks : null, fetch: service.fetch, now: () => now }
  const first = createSession('officer', around)
  await first.signIn({ login: 'zhang', password: 'secret' })
  const sessions = [first, ...Array.from({ length: count - 1 }, () => createSession('officer', around))]
  return { service, sessions, texts, later: (seconds: number) => (now += seconds * 1000) }
}

describe('the session', () => {
  it('refreshes once however many requests of one tab need it', async () => {
    const { service, sessions, later } = await tabs(1)
    later(880)
    const tokens = await Promise.all(Array.from({ length: 12 }, () => sessions[0]!.accessToken()))
    expect(service.state.refreshes).toBe(1)
    expect(new Set(tokens)).toEqual(new Set(['access-2']))
  })

  it('refreshes once however many tabs need it, and never uses a refresh token twice (F53)', async () => {
    const { service, sessions, later } = await tabs(6)
    later(880)
    const tokens = await Promise.all(sessions.flatMap((session) => [session.accessToken(), session.accessToken()]))
    expect(service.state.refreshes).toBe(1)
    expect(service.state.reuses).toBe(0)
    expect(new Set(tokens)).toEqual(new Set(['access-2']))
  })

  it('retries a refused request once with a fresh token, and tabs that follow take that token', async () => {
    const { service, sessions } = await tabs(3)
    service.expire()
    const apis = sessions.map((session) => createApi(session, service.fetch))
    const answers = await Promise.all(apis.map((api) => api.get<{ ok: boolean }>('/api/v1/officer/shift')))
    expect(answers).toEqual([{ ok: true }, { ok: true }, { ok: true }])
    expect(service.state.refreshes).toBe(1)
  })

  it('is over, with its reason told, when the server says that a token was used twice (F53)', async () => {
    const { service, sessions } = await tabs(1)
    service.state.valid = 'somebody else has rotated it'
    service.expire()
    const session = sessions[0]!
    await expect(createApi(session, service.fetch).get('/api/v1/officer/shift')).rejects.toMatchObject({ code: 'refresh_reused' })
    expect(session.signedIn.value).toBe(false)
    expect(session.ended.value).toBe('refresh_reused')
    await expect(session.accessToken()).rejects.toBeInstanceOf(Problem)
  })

  it('outlives a dead network, and uses the token it has', async () => {
    const { service, sessions, later } = await tabs(1)
    later(10_000)
    service.state.offline = true
    expect(await sessions[0]!.accessToken()).toBe('access-1')
    await expect(sessions[0]!.refresh()).rejects.toBeInstanceOf(Offline)
    expect(sessions[0]!.signedIn.value).toBe(true)
    service.state.offline = false
    expect(await sessions[0]!.accessToken()).toBe('access-2')
  })

  it('survives the race of two tabs where there are no web locks, by the device key that goes with it (F53)', async () => {
    const { service, sessions, later } = await tabs(2, false)
    service.state.forgives = true
    later(880)
    await Promise.all(sessions.map((session) => session.accessToken()))
    expect(service.state.refreshes).toBe(2)
    expect(service.state.reuses).toBe(0)
    for (const session of sessions) {
      const answer = await createApi(session, service.fetch).get<{ ok: boolean }>('/api/v1/officer/shift')
      expect(answer.ok).toBe(true)
    }
  })

  it('tells every listener of a new token, and no longer the one that has left', async () => {
    const { sessions } = await tabs(1)
    const heard: string[] = []
    const stop = sessions[0]!.onToken((token) => heard.push(token))
    await sessions[0]!.refresh()
    stop()
    await sessions[0]!.refresh()
    expect(heard).toEqual(['access-2'])
  })

  it('leaves nothing behind on the device when its owner signs out', async () => {
    const { sessions, texts } = await tabs(1)
    await sessions[0]!.signOut()
    expect([...texts.keys()].filter((key) => key.endsWith('.session'))).toEqual([])
    expect([...texts.values()].join()).not.toMatch(/access-|refresh-/)
    expect(sessions[0]!.ended.value).toBeNull()
  })

  it('names each officer of one phone as a device of his own', async () => {
    const { sessions } = await tabs(1)
    const before = sessions[0]!.deviceId
    expect(sessions[0]!.deviceId).toBe(before)
    await sessions[0]!.signOut()
    expect(sessions[0]!.deviceId).not.toBe(before)
  })
})

describe('the API client', () => {
  it('sends an Idempotency-Key with every command, the same one with its retry, and none with a question', async () => {
    const { service, sessions } = await tabs(1)
    const api = createApi(sessions[0]!, service.fetch)
    service.expire()
    service.state.requests.length = 0
    await api.post('/api/v1/officer/shifts', {})
    const keys = service.state.requests.map((headers) => headers.get('Idempotency-Key')).filter(Boolean)
    expect(keys.length).toBe(2)
    expect(new Set(keys).size).toBe(1)
    service.state.requests.length = 0
    await api.get('/api/v1/officer/shift')
    expect(service.state.requests[0]!.get('Idempotency-Key')).toBeNull()
  })

  it('turns a problem document into its code, and a bare answer of a proxy into its status', async () => {
    const session = (await tabs(1)).sessions[0]!
    const says = (body: string, status: number, headers = {}) => createApi(session, (async () => new Response(body, { status, headers })) as typeof fetch)
    await expect(says('{"code":"wrong_state","current":"ended","actions":[]}', 409).get('/x')).rejects.toMatchObject({ code: 'wrong_state', status: 409 })
    await expect(says('<html>', 502, { 'Retry-After': '7' }).get('/x')).rejects.toMatchObject({ code: 'http_502', retryAfterS: 7 })
  })
})
