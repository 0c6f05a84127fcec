/**
 * The town's kinds of task, read once per sign-in and again when somebody has changed them here. Those no longer in use
 * are among them: what was done by them is still read.
 */
import { shallowRef, watch } from 'vue'
import type { Page } from '@/shared/types'
import { api, session } from '../client'
import type { TaskKind } from '../types'

export const kinds = shallowRef<TaskKind[]>([])
let reading: Promise<void> | null = null

async function read(): Promise<void> {
  const found: TaskKind[] = []
  let cursor: string | null = null
  do {
    const page: Page<TaskKind> = await api.get<Page<TaskKind>>('/api/v1/desk/task-kinds', { limit: 200, retired: true, cursor })
    found.push(...page.items)
    cursor = page.next
  } while (cursor !== null)
  kinds.value = found
}

export function needKinds(): Promise<void> {
  reading ??= read().catch((error: unknown) => {
    reading = null
    throw error
  })
  return reading
}
export function forgetKinds(): void {
  reading = null
}
watch(session.sessionId, () => {
  kinds.value = []
  reading = null
})
