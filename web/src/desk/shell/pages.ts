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

  async function read(fresh: boolean): Promise<void> {
    abort.abort()
    abort = new AbortController()
    const mine = abort
    busy.value = true
    problem.value = ''
    try {
      const page = await api.get<Page<T>>(
        path,
        { ...query(), limit, cursor: fresh ? null : next.value },
        { signal: mine.signal },
      )
      if (mine !== abort) return
      items.value = fresh ? page.items : [...items.value, ...page.items]
      next.value = page.next
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
    replace(found: T, same: (one: T) => boolean) {
      items.value = items.value.map((one) => (same(one) ? found : one))
    },
  }
}
