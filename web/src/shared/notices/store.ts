/** One's own notices on a page: how many are unread, and that something has come. The lists read themselves. */
import { ref, watch } from 'vue'
import type { Api } from '../api'
import type { Session } from '../session'
import type { Client } from './pages'

const POLL_MS = 60_000
/** Several notices are often written at once. */
const GATHER_MS = 250

export function createNotices(session: Pick<Session, 'user'>, api: Api, client: Client) {
  const path = `/api/v1/${client}/notices`
  const unread = ref(0)
  /** Counts what has come since the page was opened: whoever shows a list reads it anew. */
  const came = ref(0)
  let timer: ReturnType<typeof setInterval> | undefined
  let soon: ReturnType<typeof setTimeout> | undefined

  async function count(): Promise<void> {
    const mine = session.user.value?.id
    if (!mine) return
    try {
      const answer = await api.get<{ unread: number }>(`${path}/unread`)
      if (session.user.value?.id === mine) unread.value = answer.unread
    } catch {
      // The figure stays what it was; it is asked for again in a minute.
    }
  }
  /** There is one, or there may be: from the live channel, from a push, from a connection that came back. */
  function heard(): void {
    clearTimeout(soon)
    soon = setTimeout(() => {
      came.value += 1
      void count()
    }, GATHER_MS)
  }
  async function take(answer: Promise<{ unread: number }>): Promise<void> {
    unread.value = (await answer).unread
  }

  const onVisible = () => document.visibilityState === 'visible' && heard()
  watch(
    () => session.user.value?.id ?? null,
    (id) => {
      clearInterval(timer)
      clearTimeout(soon)
      unread.value = 0
      globalThis.document?.removeEventListener('visibilitychange', onVisible)
      globalThis.removeEventListener?.('online', heard)
      if (!id) return
      void count()
      timer = setInterval(() => document.visibilityState === 'visible' && void count(), POLL_MS)
      globalThis.document?.addEventListener('visibilitychange', onVisible)
      globalThis.addEventListener?.('online', heard)
    },
    { immediate: true },
  )

  return {
    path,
    client,
    unread,
    came,
    heard,
    count,
    /** It was opened: it is read, and no further channel has to bring it. */
    async opened(id: string): Promise<void> {
      try {
        await api.post(`${path}/${encodeURIComponent(id)}/confirm`)
      } catch {
        // It stays unread, and can be opened again.
      }
      await count()
    },
    /** All that came up to the newest that was seen. */
    readUntil: (newestId: string) => take(api.post(`${path}/read`, { until: newestId })),
  }
}
export type Notices = ReturnType<typeof createNotices>
