/** What is heard of appraisals: whoever shows objections or figures reads them anew when it moves. */
import { ref, watch } from 'vue'
import type { LiveSocket } from '@/shared/socket'
import { may } from '../client'
import type { ChangedEvent } from '../types'

export const heard = ref(0)

export function beginAppraisals(socket: LiveSocket): void {
  if (!may('see:appraisal')) return
  socket.on('changed', (event: ChangedEvent) => {
    if (event.kind === 'appraisal') heard.value += 1
  })
  socket.on('behind', () => (heard.value += 1))
  watch(socket.generation, () => (heard.value += 1))
}
