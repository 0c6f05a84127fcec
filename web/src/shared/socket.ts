/**
 * The live channel: Socket.IO over WebSocket alone, jittered reconnects (F14), and an access token that is renewed
 * before it expires, so that a long watch is not cut off every fifteen minutes.
 */
import { io } from 'socket.io-client'
import { ref, type Ref } from 'vue'
import { Problem } from './api'
import type { Session } from './session'

/** `lost`: was connected and tries again; `ended`: the session is over and nothing is tried. */
export type SocketState = 'connecting' | 'connected' | 'lost' | 'ended'

export interface LiveSocket {
  readonly state: Readonly<Ref<SocketState>>
  /** When the connection was lost (milliseconds of the device's clock), or null. */
  readonly lostAt: Readonly<Ref<number | null>>
  /** Counts the connections; above one means: fetch what was missed. */
  readonly generation: Readonly<Ref<number>>
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  on<A extends any[]>(event: string, listener: (...args: A) => void): void
  /** Says something and waits for its acknowledgement; rejects when none comes in time. */
  ask<T>(event: string, said: unknown, timeoutMs: number): Promise<T>
  /** Connects anew and at once: for whoever does not want to wait, or knows that the connection is dead. */
  retry(): void
  close(): void
}

const FIRST_DELAY_MS = 1_000
const LONGEST_DELAY_MS = 30_000
const RENEW_BEFORE_S = 60

export function openSocket(session: Session, namespace = '/desk'): LiveSocket {
  const state = ref<SocketState>('connecting')
  const lostAt = ref<number | null>(null)
  const generation = ref(0)
  let closed = false
  let refusals = 0
  let retryTimer: ReturnType<typeof setTimeout> | undefined

  const socket = io(namespace, {
    path: '/socket.io',
    transports: ['websocket'],
    autoConnect: false,
    forceNew: true,
    reconnectionDelay: FIRST_DELAY_MS,
    reconnectionDelayMax: LONGEST_DELAY_MS,
    randomizationFactor: 0.6,
    timeout: 10_000,
    auth: (give) => {
      session
        .accessToken(RENEW_BEFORE_S)
        .then((token) => give({ token }))
        .catch(() => give({}))
    },
  })

  /** After a refusal or a server-side goodbye the library does not come back by itself. */
  function comeBack(): void {
    if (closed || state.value === 'ended') return
    clearTimeout(retryTimer)
    const ceiling = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** refusals)
    refusals += 1
    retryTimer = setTimeout(() => socket.connect(), ceiling * (0.4 + 0.6 * Math.random()))
  }

  function finish(): void {
    state.value = 'ended'
    clearTimeout(retryTimer)
    socket.disconnect()
  }

  function lose(): void {
    if (state.value === 'ended') return
    lostAt.value ??= Date.now()
    state.value = generation.value > 0 ? 'lost' : 'connecting'
  }

  socket.on('connect', () => {
    refusals = 0
    lostAt.value = null
    state.value = 'connected'
    generation.value += 1
  })
  socket.on('revoked', () => {
    session.end('session_revoked')
    finish()
  })
  socket.on('disconnect', (reason) => {
    lose()
    if (reason === 'io server disconnect' && state.value !== 'ended') void renewThenComeBack()
  })
  socket.on('connect_error', () => {
    lose()
    // Still active: the network failed and the library tries again. Otherwise the server refused the token.
    if (!socket.active) void renewThenComeBack()
  })

  async function renewThenComeBack(): Promise<void> {
    try {
      await session.refresh()
    } catch (error) {
      if (error instanceof Problem && error.status === 401) {
        finish()
        return
      }
    }
    comeBack()
  }

  // Ahead of its expiry each token is replaced, and the server told, on the same connection.
  const forget = session.onToken((token) => {
    if (socket.connected) socket.emit('token', { token })
  })
  const keeper = setInterval(() => {
    if (session.signedIn.value && state.value !== 'ended') session.accessToken(RENEW_BEFORE_S * 2).catch(() => undefined)
  }, 20_000)
  // While the library counts down to its next attempt, `connect` alone does nothing: the countdown is dropped first.
  const retry = () => {
    if (closed || state.value === 'ended') return
    clearTimeout(retryTimer)
    socket.disconnect()
    socket.connect()
  }
  const wake = () => {
    if (!socket.connected) retry()
  }
  globalThis.addEventListener?.('online', wake)

  socket.connect()

  return {
    state,
    lostAt,
    generation,
    on: (event, listener) => void socket.on(event, listener as (...args: unknown[]) => void),
    ask: (event, said, timeoutMs) => socket.timeout(timeoutMs).emitWithAck(event, said),
    retry,
    close() {
      closed = true
      clearTimeout(retryTimer)
      clearInterval(keeper)
      globalThis.removeEventListener?.('online', wake)
      forget()
      socket.disconnect()
    },
  }
}
