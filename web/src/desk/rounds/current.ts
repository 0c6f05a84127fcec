/** What is heard of rounds: whoever shows patrols or visits reads them anew when it moves. */
import { ref, watch } from 'vue'
import type { LiveSocket } from '@/shared/socket'
import { may } from '../client'
import type { ChangedEvent } from '../types'

export const heard = ref(0)
const OF_ROUNDS = new Set(['patrol', 'visit', 'post_duty', 'duty_level'])

export function beginRounds(socket: LiveSocket): void {
  if (!may('see:patrol')) return
  socket.on('changed', (event: ChangedEvent) => {
    if (OF_ROUNDS.has(event.kind)) heard.value += 1
  })
  socket.on('behind', () => (heard.value += 1))
  watch(socket.generation, () => (heard.value += 1))
}
