/** A list that the API hands out by cursor, read page by page as it is scrolled. */
import { ref, shallowRef } from 'vue'
import type { Api, RequestOptions } from '../api'
import type { Page } from '../types'

export function useCursor<T>(api: Api, path: string, query: RequestOptions['query'] = {}) {
  const items = shallowRef<T[]>([])
  const loading = ref(false)
  const finished = ref(false)
  const failure = ref<unknown>(null)
  /** Something was read at least once. */
  const known = ref(false)
  let cursor: string | null = null

  async function more(): Promise<void> {
    if (loading.value || finished.value) return
    loading.value = true
    failure.value = null
    try {
      const page: Page<T> = await api.get(path, { ...query, cursor })
      items.value = [...items.value, ...page.items]
      cursor = page.next
      finished.value = cursor === null
      known.value = true
    } catch (error) {
      failure.value = error
    } finally {
      loading.value = false
    }
  }
  async function again(): Promise<void> {
    cursor = null
    finished.value = false
    items.value = []
    known.value = false
    await more()
  }
  void more()
  return { items, loading, finished, failure, known, more, again }
}
