/** What is heard of calls: that one has changed, for whoever shows it; and that one of one's own has ended, for every screen. */
import { ref, shallowRef, watch } from 'vue'
import type { LiveSocket } from '@/shared/socket'
import { api, may, session } from '../client'
import type { ChangedEvent, DeskCall } from '../types'

/** Counts what was heard; whoever shows calls reads them anew when it moves. */
export const heard = ref(0)
/** A call of the person at this desk that has just ended. */
export const ended = shallowRef<DeskCall | null>(null)

export const CALLS = '/api/v1/desk/calls'

export function beginCalls(socket: LiveSocket): void {
  if (!may('see:call')) return
  socket.on('changed', (event: ChangedEvent) => {
    if (event.kind !== 'call') return
    heard.value += 1
    if (event.action === 'end') void tellIfMine(event.id)
  })
  socket.on('behind', () => (heard.value += 1))
  watch(socket.generation, () => (heard.value += 1))
}

async function tellIfMine(id: string): Promise<void> {
  try {
    const call = await api.get<DeskCall>(`${CALLS}/${encodeURIComponent(id)}`)
    if (call.created_by.id === session.user.value?.id) ended.value = call
  } catch {
    // It stands in the list of past calls, and in the notices.
  }
}
