/** The one feed of tasks and alarms of this page: it runs on every screen, because an SOS may come on any of them. */
import { computed, shallowRef } from 'vue'
import { api, may } from '../client'
import type { LiveSocket } from '@/shared/socket'
import { createDispatchFeed, type DispatchFeed } from './feed'
import { callsForHelp } from './queue'

export const dispatch = shallowRef<DispatchFeed | null>(null)

/** Starts it on the live channel's socket, if the person who is signed in may see tasks and alarms. */
export function beginDispatch(socket: LiveSocket): void {
  dispatch.value?.close()
  dispatch.value = may('see:alarm') && may('see:task') ? createDispatchFeed(socket, api) : null
}

export function endDispatch(): void {
  dispatch.value?.close()
  dispatch.value = null
}

/** Every SOS that nobody has taken on, the longest waiting first. */
export const unanswered = computed(() => callsForHelp(dispatch.value?.alarms.open.values() ?? []))
