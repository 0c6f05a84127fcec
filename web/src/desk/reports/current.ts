/** Which reports wait to be looked at, for the tab's count; and the word that some report has changed, for open lists. */
import { computed, ref, shallowRef } from 'vue'
import type { LiveSocket } from '@/shared/socket'
import type { Page } from '@/shared/types'
import { api, may } from '../client'
import { heard as photoHeard } from '../evidence/photos'
import type { ChangedEvent, DeskReport } from '../types'

/** Beyond this the tab says that there are more. */
export const COUNTED = 99
const GATHER_MS = 400
const RECONCILE_MS = 5 * 60_000

/** Moves whenever a report may have changed. */
export const heard = ref(0)
export const sampled = shallowRef<DeskReport[]>([])
const more = ref(false)
export const waiting = computed(() => (more.value ? `${COUNTED}+` : sampled.value.length ? String(sampled.value.length) : ''))

let running = 0
let gathering: ReturnType<typeof setTimeout> | undefined
let timer: ReturnType<typeof setInterval> | undefined

/** Starts on the live channel's socket, if the person who is signed in may see reports. */
export function beginReports(socket: LiveSocket): void {
  endReports()
  if (!may('see:report')) return
  const mine = running
  const soon = () => {
    if (mine !== running) return
    clearTimeout(gathering)
    gathering = setTimeout(() => void read(mine), GATHER_MS)
  }
  socket.on('changed', (event: ChangedEvent) => {
    if (event.kind === 'report') soon()
    if (event.kind === 'evidence') photoHeard.value += 1
  })
  socket.on('behind', () => {
    photoHeard.value += 1
    soon()
  })
  timer = setInterval(soon, RECONCILE_MS)
  soon()
}

export function endReports(): void {
  running += 1
  clearTimeout(gathering)
  clearInterval(timer)
  sampled.value = []
  more.value = false
}

async function read(mine: number): Promise<void> {
  heard.value += 1
  try {
    const page = await api.get<Page<DeskReport>>('/api/v1/desk/reports', { state: 'sampled', limit: COUNTED })
    if (mine !== running) return
    sampled.value = page.items
    more.value = page.next !== null
  } catch {
    // The list says what is wrong; the count stays as it was and is asked for again.
  }
}
