/** The areas in scope, read once per sign-in; every screen that lets somebody choose an area uses the same list. */
import { computed, shallowRef, watch } from 'vue'
import { api, session } from '../client'
import { areaTree } from './areas'
import type { Area } from '../types'
import type { Page } from '@/shared/types'

const list = shallowRef<Area[]>([])
let reading: Promise<void> | null = null

async function read(): Promise<void> {
  const found: Area[] = []
  let cursor: string | null = null
  do {
    const page: Page<Area> = await api.get<Page<Area>>('/api/v1/desk/areas', { limit: 500, cursor })
    found.push(...page.items)
    cursor = page.next
  } while (cursor !== null)
  list.value = found
}

watch(session.sessionId, () => {
  list.value = []
  reading = null
})

/** Call from a screen that needs them; does nothing when they are here already. */
export function needAreas(): Promise<void> {
  reading ??= read().catch((error: unknown) => {
    reading = null
    throw error
  })
  return reading
}

export const areas = computed(() => list.value)
export const areaNodes = computed(() => areaTree(list.value))
