import { readonly, ref } from 'vue'

function matching(query: string) {
  const found = globalThis.matchMedia?.(query)
  const matches = ref(found?.matches ?? false)
  found?.addEventListener('change', (event) => {
    matches.value = event.matches
  })
  return readonly(matches)
}

/** A phone held in one hand: side panels become a sheet at the bottom. */
export const narrow = matching('(max-width: 720px)')
/** What stands out of a sheet that is down: its handle, which list it holds, and how many are in need of attention. */
export const PEEK_PX = 118
