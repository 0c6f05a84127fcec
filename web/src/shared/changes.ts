/**
 * "This has changed" from the live channel: it says what, and whoever cares fetches what he may see.
 *
 * The socket is open while somebody wants it. Each new connection, and the server's own word that something may have
 * been missed, tell everybody to fetch everything.
 */
import { computed, effectScope, shallowRef, watch, type EffectScope } from 'vue'
import type { Session } from './session'
import { openSocket, type LiveSocket } from './socket'

export interface Change {
  kind: string
  id: string
  version: number
  action: string
}

export function createChanges(session: Session, namespace: '/officer' | '/resident', open: typeof openSocket = openSocket) {
  const socket = shallowRef<LiveSocket | null>(null)
  const connected = computed(() => socket.value?.state.value === 'connected')
  const wishes = new Set<string>()
  const listeners: ((change: Change | null) => void)[] = []
  const noticeListeners: (() => void)[] = []
  let scope: EffectScope | null = null

  const tell = (change: Change | null) => listeners.forEach((listener) => listener(change))

  function follow(): void {
    const should = wishes.size > 0 && session.signedIn.value
    if (should && !socket.value) {
      const opened = open(session, namespace)
      socket.value = opened
      opened.on('changed', (change: Change) => tell(change))
      opened.on('behind', () => tell(null))
      opened.on('notice', () => noticeListeners.forEach((listener) => listener()))
      scope = effectScope(true)
      scope.run(() => watch(opened.generation, () => tell(null), { flush: 'sync' }))
    }
    if (!should && socket.value) {
      scope?.stop()
      socket.value.close()
      socket.value = null
    }
  }

  return {
    connected,
    /** Says whether the channel is wanted, and why: it is open while one reason is left. */
    want(why: string, wanted: boolean): void {
      if (wanted) wishes.add(why)
      else wishes.delete(why)
      follow()
    },
    /** Says something to the server over the open channel and waits for its answer; null where there is no channel. */
    ask<T>(event: string, said: unknown, timeoutMs: number): Promise<T> | null {
      return connected.value && socket.value ? socket.value.ask<T>(event, said, timeoutMs) : null
    },
    /** `null`: anything may have changed. */
    onChange(listener: (change: Change | null) => void): void {
      listeners.push(listener)
    },
    /** There is a notice for whoever is signed in. What may have been missed is told by `onChange(null)`. */
    onNotice(listener: () => void): void {
      noticeListeners.push(listener)
    },
  }
}
export type Changes = ReturnType<typeof createChanges>
