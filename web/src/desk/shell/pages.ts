/** A list that the API gives in pages: what is here, whether there is more, and what went wrong. */
import { computed, onBeforeUnmount, ref, shallowRef } from 'vue'
import { useI18n } from 'vue-i18n'
import { explain } from '@/shared/api'
import type { Page } from '@/shared/types'
import { api } from '../client'

export type Query = Record<string, string | number | boolean | null | undefined>

export function usePages<T>(path: string, query: () => Query = () => ({}), limit = 50) {
  const { t } = useI18n()
  const items = shallowRef<T[]>([])
  const next = ref<string | null>(null)
  const busy = ref(false)
  const problem = ref('')
  const asked = ref(false)
  let abort = new AbortController()

  async function read(fresh: boolean, most = 0): Promise<void> {
    abort.abort()
    abort = new AbortController()
    const mine = abort
    busy.value = true
    problem.value = ''
    let found = fresh ? [] : items.value
    let cursor = fresh ? null : next.value
    try {
      do {
        const page: Page<T> = await api.get<Page<T>>(path, { ...query(), limit, cursor }, { signal: mine.signal })
        if (mine !== abort) return
        found = [...found, ...page.items]
        cursor = page.next
      } while (cursor !== null && found.length < most)
      items.value = found
      next.value = cursor
      asked.value = true
    } catch (error) {
      if (mine === abort && !mine.signal.aborted) problem.value = explain(error, t)
    } finally {
      if (mine === abort) busy.value = false
    }
  }
  onBeforeUnmount(() => abort.abort())

  return {
    items,
    next,
    busy,
    problem,
    /** Nothing has been read yet. */
    first: computed(() => !asked.value),
    reload: () => read(true),
    more: () => read(false),
    /** Page after page, and shown at once, for what is seen as a whole, such as a map; beyond `most` one goes on by hand. */
    all: (most = 2000) => read(true, most),
    replace(found: T, same: (one: T) => boolean) {
      items.value = items.value.map((one) => (same(one) ? found : one))
    },
  }
}
