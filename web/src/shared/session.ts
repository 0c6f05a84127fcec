/**
 * Who is signed in on this client, and a fresh access token whenever one is needed.
 *
 * Tokens are kept per client (desk, officer, resident), shared by the tabs of one browser. The refresh token rotates at
 * every use and a second use of an old one ends the whole family (threat F53), so exactly one tab may refresh at a
 * time: a web lock sees to that, and whoever waited for it takes what the other tab has brought.
 */
import { computed, ref, type ComputedRef, type Ref } from 'vue'
import { exchange, Offline, Problem } from './api'
import { newId } from './ids'
import type { Audience, Me, Tokens } from './types'

interface Kept {
  access_token: string
  /** By the clock of this device, counted from the moment of the answer. */
  expires_at_ms: number
  refresh_token: string
  session_id: string
  user: Me
}

/** Why a session is no more; `signed_out` is the user's own wish. */
export type SessionEnd = 'signed_out' | 'refresh_reused' | 'session_revoked' | 'session_expired'

export interface SignIn {
  login: string
  password: string
  totp?: string
}

export interface Session {
  readonly client: Audience
  readonly user: Readonly<Ref<Me | null>>
  readonly signedIn: ComputedRef<boolean>
  readonly sessionId: ComputedRef<string | null>
  /** Set when a session ended without the user asking for it. */
  readonly ended: Ref<SessionEnd | null>
  /** A secret of this browser that goes with sign-in and refresh: the server forgives a refresh race only to it. */
  readonly deviceKey: string
  /** A public name of this browser as a device of the present user, for the fixes that it sends. */
  readonly deviceId: string
  /** Takes another device name, e.g. because the server knows the present one as somebody else's. */
  renewDeviceId(): string
  signIn(credentials: SignIn): Promise<Me>
  requestCode(phone: string): Promise<{ expires_in_s: number }>
  verifyCode(phone: string, code: string): Promise<Me>
  signOut(): Promise<void>
  /** A token that is good for at least `minValidS` more seconds. Throws `Problem` 401 when nobody is signed in. */
  accessToken(minValidS?: number): Promise<string>
  /** Replaces a token that the server has refused. Without an argument: whatever token there is now. */
  refresh(refused?: string): Promise<string>
  /** Called with every new access token, also one brought by another tab. Returns the way to stop. */
  onToken(listener: (token: string) => void): () => void
  /** The server has said that this session is over. */
  end(reason: SessionEnd): void
  /** Reads `Me` again, e.g. after a change of memberships. */
  reload(): Promise<Me>
}

export interface SessionSurroundings {
  storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>
  locks: Pick<LockManager, 'request'> | null
  fetch: typeof fetch
  now: () => number
}

const EARLY_S = 30
const LOCK_PATIENCE_MS = 30_000

export function createSession(client: Audience, given: Partial<SessionSurroundings> = {}): Session {
  const storage = given.storage ?? safeStorage()
  const locks = given.locks === undefined ? (globalThis.navigator?.locks ?? null) : given.locks
  const send = given.fetch ?? ((...args: Parameters<typeof fetch>) => globalThis.fetch(...args))
  const now = given.now ?? (() => Date.now())
  const keptAt = `xungeng.${client}.session`

  const kept = ref<Kept | null>(read())
  const ended = ref<SessionEnd | null>(null)
  const listeners = new Set<(token: string) => void>()
  let refreshing: Promise<string> | null = null

  const deviceKey = once(`xungeng.${client}.device_key`, () => newId() + newId().slice(-12))
  const deviceIdAt = () => `xungeng.${client}.device_id.${kept.value?.user.id ?? ''}`

  function once(key: string, make: () => string): string {
    const found = storage.getItem(key)
    if (found) return found
    const made = make()
    storage.setItem(key, made)
    return made
  }

  function read(): Kept | null {
    try {
      const text = storage.getItem(keptAt)
      return text ? (JSON.parse(text) as Kept) : null
    } catch {
      return null
    }
  }

  function take(tokens: Tokens): Kept {
    const taken: Kept = {
      access_token: tokens.access_token,
      expires_at_ms: now() + tokens.expires_in_s * 1000,
      refresh_token: tokens.refresh_token,
      session_id: tokens.session_id,
      user: tokens.user,
    }
    storage.setItem(keptAt, JSON.stringify(taken))
    adopt(taken)
    return taken
  }

  function adopt(taken: Kept): void {
    const changed = kept.value?.access_token !== taken.access_token
    kept.value = taken
    ended.value = null
    if (changed) for (const listener of listeners) listener(taken.access_token)
  }

  function end(reason: SessionEnd): void {
    storage.removeItem(keptAt)
    kept.value = null
    ended.value = reason === 'signed_out' ? null : reason
  }

  // Another tab signed in, refreshed or signed out.
  globalThis.addEventListener?.('storage', (event: StorageEvent) => {
    if (event.key !== keptAt) return
    const other = read()
    if (other) adopt(other)
    else if (kept.value) {
      kept.value = null
      ended.value = null
    }
  })

  function nobody(): Problem {
    return new Problem({ status: 401, code: ended.value ?? 'session_expired', title: 'Nobody is signed in.' })
  }

  async function post<T>(path: string, body: unknown, token?: string): Promise<T> {
    const options = { body, token, ...(token ? { idempotencyKey: newId() } : {}) }
    const answer = await exchange('POST', `/api/v1/auth${path}`, options, send)
    const text = await answer.text()
    return (text ? JSON.parse(text) : undefined) as T
  }

  function usable(candidate: Kept, refused: string | undefined, minValidS: number): boolean {
    return candidate.access_token !== refused && candidate.expires_at_ms - now() > minValidS * 1000
  }

  async function renew(refused: string | undefined): Promise<string> {
    const mine = read()
    if (!mine) {
      if (kept.value) end('session_expired')
      throw nobody()
    }
    if (usable(mine, refused, EARLY_S)) {
      adopt(mine)
      return mine.access_token
    }
    try {
      const body = { refresh_token: mine.refresh_token, device_key: deviceKey }
      return take(await post<Tokens>('/refresh', body)).access_token
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401) throw error
      // Without web locks (plain HTTP) two tabs can race; the loser takes what the winner has stored.
      const other = read()
      if (other && other.refresh_token !== mine.refresh_token && usable(other, refused, 0)) {
        adopt(other)
        return other.access_token
      }
      end(reasonOf(error))
      throw error
    }
  }

  /** Runs while no other tab of this client does; a tab that hangs with the lock is waited for half a minute. */
  async function alone<T>(work: () => Promise<T>): Promise<T> {
    if (!locks) return await work()
    const patience = new AbortController()
    const timer = setTimeout(() => patience.abort(), LOCK_PATIENCE_MS)
    let begun = false
    try {
      return await locks.request(`xungeng.${client}.refresh`, { signal: patience.signal }, () => {
        begun = true
        clearTimeout(timer)
        return work()
      })
    } catch (error) {
      if (begun || !patience.signal.aborted) throw error
      return await work()
    } finally {
      clearTimeout(timer)
    }
  }

  function refresh(refused: string | undefined = kept.value?.access_token): Promise<string> {
    // The caller's token may be older than what is here already.
    if (kept.value && usable(kept.value, refused, EARLY_S)) return Promise.resolve(kept.value.access_token)
    if (refreshing) return refreshing
    const flight = alone(() => renew(refused)).finally(() => {
      refreshing = null
    })
    refreshing = flight
    return flight
  }

  async function accessToken(minValidS = EARLY_S): Promise<string> {
    if (!kept.value) throw nobody()
    if (usable(kept.value, undefined, minValidS)) return kept.value.access_token
    try {
      return await refresh(kept.value.access_token)
    } catch (error) {
      // A clock that runs ahead must not lock out a token that the server still takes.
      if (error instanceof Offline && kept.value) return kept.value.access_token
      throw error
    }
  }

  async function entered(path: string, body: object): Promise<Me> {
    const named = { ...body, client, device_name: deviceName(), device_key: deviceKey }
    return take(await post<Tokens>(path, named)).user
  }

  return {
    client,
    user: computed(() => kept.value?.user ?? null),
    signedIn: computed(() => kept.value !== null),
    sessionId: computed(() => kept.value?.session_id ?? null),
    ended,
    deviceKey,
    get deviceId() {
      return once(deviceIdAt(), newId)
    },
    renewDeviceId() {
      storage.removeItem(deviceIdAt())
      return once(deviceIdAt(), newId)
    },
    signIn: ({ login, password, totp }) => entered('/login', { login, password, ...(totp ? { totp } : {}) }),
    requestCode: (phone) => post('/otp', { phone }),
    verifyCode: (phone, code) => entered('/otp/verify', { phone, code }),
    async signOut() {
      const token = kept.value?.access_token
      end('signed_out')
      if (!token) return
      try {
        await post('/logout', {}, token)
      } catch {
        // Offline or already over: the tokens are gone from this device either way, and the server's copy expires.
      }
    },
    accessToken,
    refresh,
    onToken(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    end,
    async reload() {
      const token = await accessToken()
      const answer = await exchange('GET', '/api/v1/auth/me', { token }, send)
      const user = (await answer.json()) as Me
      const present = read()
      if (present) {
        const next = { ...present, user }
        storage.setItem(keptAt, JSON.stringify(next))
        adopt(next)
      }
      return user
    },
  }
}

function reasonOf(problem: Problem): SessionEnd {
  if (problem.code === 'refresh_reused') return 'refresh_reused'
  return problem.code === 'session_ended' ? 'session_revoked' : 'session_expired'
}

/** localStorage, or a memory of this page where the browser refuses it. */
function safeStorage(): SessionSurroundings['storage'] {
  try {
    globalThis.localStorage.getItem('xungeng')
    return globalThis.localStorage
  } catch {
    const memory = new Map<string, string>()
    return {
      getItem: (key) => memory.get(key) ?? null,
      setItem: (key, value) => void memory.set(key, value),
      removeItem: (key) => void memory.delete(key),
    }
  }
}

/** What the owner of the session will recognise in the list of his sessions. */
export function deviceName(agent: string = globalThis.navigator?.userAgent ?? ''): string {
  const browser =
    /MicroMessenger/.test(agent) ? '微信 WeChat'
    : /Edg\//.test(agent) ? 'Edge'
    : /Firefox\//.test(agent) ? 'Firefox'
    : /Chrome\//.test(agent) ? 'Chrome'
    : /Safari\//.test(agent) ? 'Safari'
    : 'Browser'
  const system =
    /HarmonyOS|OpenHarmony/.test(agent) ? 'HarmonyOS'
    : /Android/.test(agent) ? 'Android'
    : /iPhone|iPad|iPod/.test(agent) ? 'iOS'
    : /Windows/.test(agent) ? 'Windows'
    : /Mac OS/.test(agent) ? 'macOS'
    : /Linux/.test(agent) ? 'Linux'
    : ''
  const model = /Android [\d.]+; ([^;)]+?)(?: Build|\))/.exec(agent)?.[1]
  return [model && model !== 'K' ? model : system, browser].filter(Boolean).join(' · ')
}
