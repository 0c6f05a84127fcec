/**
 * The one way from a client to the HTTP API: problem documents become `Problem`, a dead network becomes `Offline`,
 * the access token is fresh, and every command carries an Idempotency-Key.
 */
import { ref } from 'vue'
import { newId } from './ids'
import type { Session } from './session'

export interface ProblemDocument {
  status: number
  code: string
  title?: string
  detail?: string
  retry_after_s?: number
  current?: string
  actions?: string[]
  errors?: Record<string, unknown>
  [extra: string]: unknown
}

/** A refusal of the server (RFC 9457); `code` is what a client acts on. */
export class Problem extends Error {
  readonly status: number
  readonly code: string
  readonly detail: string
  readonly retryAfterS: number | null
  constructor(readonly document: ProblemDocument) {
    super(document.detail ?? document.title ?? document.code)
    this.name = 'Problem'
    this.status = document.status
    this.code = document.code
    this.detail = document.detail ?? document.title ?? ''
    this.retryAfterS = typeof document.retry_after_s === 'number' ? document.retry_after_s : null
  }
}

/** The server could not be reached, or did not answer in time; nothing is known about the request's fate. */
export class Offline extends Error {
  constructor(cause?: unknown) {
    super('The server cannot be reached.', { cause })
    this.name = 'Offline'
  }
}

/**
 * Whether the server answers: what the browser says about the network, corrected by what happened to the last request.
 */
export const online = ref<boolean>(globalThis.navigator?.onLine ?? true)
if (globalThis.addEventListener) {
  globalThis.addEventListener('online', () => (online.value = true))
  globalThis.addEventListener('offline', () => (online.value = false))
}

/**
 * By how much the clock of this device runs ahead of the server's, in milliseconds; null until the first answer. The
 * server tells whole seconds, so that anything below two seconds means nothing. It is shown and never corrected.
 */
export const clockAheadMs = ref<number | null>(null)
/** A clock that is off by more than this is told to its owner, and not counted with. */
export const CLOCK_TOLERANCE_MS = 60_000
/** What time it is, also on a device whose clock is wrong; once the server has answered. */
export function trueNowMs(): number {
  const ahead = clockAheadMs.value ?? 0
  return Date.now() - (Math.abs(ahead) > CLOCK_TOLERANCE_MS ? ahead : 0)
}

export interface RequestOptions {
  query?: Record<string, string | number | boolean | null | undefined>
  body?: unknown
  /** Sent instead of JSON; give `contentType` with it. */
  raw?: BodyInit
  contentType?: string
  accept?: string
  /** For commands; one is made when none is given. The same key must go with each retry of the same act. */
  idempotencyKey?: string
  /** The version that was read, for a change that must not undo somebody else's. */
  ifMatch?: number
  /** Compress the JSON body; ignored where the browser cannot. */
  gzip?: boolean
  timeoutMs?: number
  signal?: AbortSignal
  /** Let the request outlive the page. */
  keepalive?: boolean
}

type Fetch = typeof fetch
const DEFAULT_TIMEOUT_MS = 20_000

/** One HTTP exchange without any sign-in. Everything else stands on it. */
export async function exchange(
  method: string,
  path: string,
  options: RequestOptions & { token?: string | null } = {},
  send: Fetch = (...args) => globalThis.fetch(...args),
): Promise<Response> {
  const headers = new Headers({ Accept: options.accept ?? 'application/json' })
  if (options.token) headers.set('Authorization', `Bearer ${options.token}`)
  if (options.idempotencyKey) headers.set('Idempotency-Key', options.idempotencyKey)
  if (options.ifMatch !== undefined) headers.set('If-Match', `"${options.ifMatch}"`)
  let body: BodyInit | undefined = options.raw
  if (options.contentType) headers.set('Content-Type', options.contentType)
  if (options.body !== undefined) {
    headers.set('Content-Type', 'application/json')
    const text = JSON.stringify(options.body)
    const packed = options.gzip ? await gzip(text) : null
    if (packed) headers.set('Content-Encoding', 'gzip')
    body = packed ?? text
  }
  const abort = new AbortController()
  const onAbort = () => abort.abort(options.signal?.reason)
  if (options.signal?.aborted) onAbort()
  options.signal?.addEventListener('abort', onAbort, { once: true })
  const timer = setTimeout(() => abort.abort(new Error('timeout')), options.timeoutMs ?? DEFAULT_TIMEOUT_MS)
  let response: Response
  try {
    response = await send(withQuery(path, options.query), {
      method,
      headers,
      body,
      signal: abort.signal,
      keepalive: options.keepalive,
      credentials: 'same-origin',
      cache: 'no-store',
    })
  } catch (error) {
    if (options.signal?.aborted) throw error
    online.value = false
    throw new Offline(error)
  } finally {
    clearTimeout(timer)
    options.signal?.removeEventListener('abort', onAbort)
  }
  online.value = true
  const served = Date.parse(response.headers.get('Date') ?? '')
  if (Number.isFinite(served)) clockAheadMs.value = Date.now() - served
  if (response.ok) return response
  throw await problemOf(response)
}

async function problemOf(response: Response): Promise<Problem> {
  let document: Partial<ProblemDocument> = {}
  try {
    const read: unknown = await response.json()
    if (read && typeof read === 'object') document = read as Partial<ProblemDocument>
  } catch {
    // A proxy in between answers in a shape of its own; the status says enough.
  }
  const header = Number(response.headers.get('Retry-After'))
  if (document.retry_after_s === undefined && header > 0) document.retry_after_s = header
  return new Problem({ ...document, status: response.status, code: document.code ?? `http_${response.status}` })
}

function withQuery(path: string, query: RequestOptions['query']): string {
  if (!query) return path
  const parts = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) parts.set(name, String(value))
  }
  const text = parts.toString()
  return text ? `${path}?${text}` : path
}

async function gzip(text: string): Promise<Uint8Array<ArrayBuffer> | null> {
  if (typeof CompressionStream === 'undefined' || text.length < 1024) return null
  const stream = new Response(text).body!.pipeThrough(new CompressionStream('gzip'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

export interface Api {
  request<T>(method: string, path: string, options?: RequestOptions): Promise<T>
  /** The answer itself, for files. */
  response(method: string, path: string, options?: RequestOptions): Promise<Response>
  get<T>(path: string, query?: RequestOptions['query'], options?: RequestOptions): Promise<T>
  post<T>(path: string, body?: unknown, options?: RequestOptions): Promise<T>
  put<T>(path: string, body?: unknown, options?: RequestOptions): Promise<T>
  patch<T>(path: string, body?: unknown, options?: RequestOptions): Promise<T>
  delete<T>(path: string, options?: RequestOptions): Promise<T>
}

/** An API client that signs its requests with the session's access token and refreshes it once when it is refused. */
export function createApi(session: Session, send?: Fetch): Api {
  async function response(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const command = method !== 'GET' && method !== 'HEAD'
    const prepared = command ? { idempotencyKey: newId(), ...options } : options
    const token = await session.accessToken()
    try {
      return await exchange(method, path, { ...prepared, token }, send)
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 401 || ABOUT_A_PASSWORD.has(error.code)) throw error
      const fresh = await session.refresh(token)
      return await exchange(method, path, { ...prepared, token: fresh }, send)
    }
  }
  async function request<T>(method: string, path: string, options?: RequestOptions): Promise<T> {
    const answer = await response(method, path, options)
    if (answer.status === 204) return undefined as T
    const text = await answer.text()
    return (text ? JSON.parse(text) : undefined) as T
  }
  return {
    response,
    request,
    get: (path, query, options) => request('GET', path, { ...options, query }),
    post: (path, body, options) => request('POST', path, { ...options, body: body ?? {} }),
    put: (path, body, options) => request('PUT', path, { ...options, body: body ?? {} }),
    patch: (path, body, options) => request('PATCH', path, { ...options, body: body ?? {} }),
    delete: (path, options) => request('DELETE', path, options),
  }
}

/** A sentence for people about an error of the two kinds above, in the language of `t`. */
export function explain(error: unknown, t: (key: string, values?: Record<string, unknown>) => string): string {
  if (error instanceof Offline) return t('problem.offline')
  if (!(error instanceof Problem)) return t('problem.other', { code: 'client' })
  const known = KNOWN[error.code]
  if (known) return t(`problem.${known}`, { seconds: error.retryAfterS ?? 60 })
  const byStatus: Record<number, string> = {
    401: 'session_expired',
    403: 'forbidden',
    404: 'not_found',
    409: 'conflict',
    422: 'invalid',
    429: 'too_many',
    502: 'unavailable',
    503: 'unavailable',
    504: 'unavailable',
  }
  const key = byStatus[error.status]
  return key ? t(`problem.${key}`, { seconds: error.retryAfterS ?? 60 }) : t('problem.other', { code: error.code })
}

/** 401s that say something about what was typed, not about the token. */
const ABOUT_A_PASSWORD = new Set(['invalid_credentials', 'invalid_code', 'totp_required'])

const KNOWN: Record<string, string> = {
  session_ended: 'session_revoked',
  invalid_token: 'session_expired',
  wrong_password: 'wrong_password',
  weak_password: 'weak_password',
  too_many_misses: 'too_many',
  town_needed: 'town_needed',
  invalid_credentials: 'invalid_credentials',
  invalid_code: 'invalid_code',
  phone_not_served: 'phone_not_served',
  totp_required: 'totp_required',
  refresh_reused: 'refresh_reused',
  session_revoked: 'session_revoked',
  session_expired: 'session_expired',
  too_many_requests: 'too_many',
  too_much: 'too_much',
  clock_wrong: 'clock_wrong',
  open_tasks: 'open_tasks',
}
