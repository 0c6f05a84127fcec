/** The photos of one report, task or patrol: how far each has come, and its pixels once it is sealed. */
import { computed, onScopeDispose, reactive, ref, shallowRef, watch, type Ref } from 'vue'
import { Problem } from '@/shared/api'
import { api } from '../client'
import type { DeskPhoto } from '../types'

/** Moves whenever some photo may have been sealed or rejected. */
export const heard = ref(0)

const AGAIN_MS = 15_000

export type Shown = { state: 'loading' } | { state: 'here'; url: string } | { state: 'withheld' | 'missing' | 'failed' }

/** How far a photo has come, in one word. */
export function standing({ evidence }: DeskPhoto): 'expected' | 'uploading' | 'received' | 'sealed' | 'rejected' {
  return evidence?.state ?? 'expected'
}
const isOver = (photo: DeskPhoto) => ['sealed', 'rejected'].includes(standing(photo))

/** Reads them, and again until each is sealed or rejected; the pixels of one are asked for once. */
export function usePhotos(of: Ref<'reports' | 'tasks' | 'patrols'>, id: Ref<string>, count: Ref<number>) {
  const photos = shallowRef<DeskPhoto[]>([])
  const failing = ref(false)
  /** Nothing has been heard of them yet. */
  const waiting = ref(true)
  const shown = reactive(new Map<string, Shown>())
  const unfinished = computed(() => photos.value.length < count.value || photos.value.some((photo) => !isOver(photo)))
  let run = 0

  function forget(): void {
    for (const one of shown.values()) if (one.state === 'here') URL.revokeObjectURL(one.url)
    shown.clear()
    photos.value = []
    waiting.value = true
  }

  async function read(): Promise<void> {
    if (!count.value) return
    const mine = ++run
    try {
      const answer = await api.get<{ items: DeskPhoto[] }>(`/api/v1/desk/${of.value}/${encodeURIComponent(id.value)}/evidence`)
      if (mine !== run) return
      photos.value = answer.items
      failing.value = false
      for (const photo of answer.items) if (photo.evidence?.has_preview && !shown.has(photo.id)) void load(photo.id)
    } catch {
      if (mine === run) failing.value = true
    } finally {
      if (mine === run) waiting.value = false
    }
  }

  async function load(photoId: string): Promise<void> {
    shown.set(photoId, { state: 'loading' })
    const mine = id.value
    let found: Shown
    try {
      const answer = await api.response('GET', `/api/v1/desk/evidence/${photoId}/preview`, { accept: 'image/jpeg', timeoutMs: 60_000 })
      found = { state: 'here', url: URL.createObjectURL(await answer.blob()) }
    } catch (error) {
      // What is not ours to see will not be by asking again, and what has left the store does not come back by it.
      const status = error instanceof Problem ? error.status : null
      found = { state: status === 410 ? 'missing' : status === 403 || status === 404 ? 'withheld' : 'failed' }
    }
    if (id.value === mine && shown.has(photoId)) shown.set(photoId, found)
    else if (found.state === 'here') URL.revokeObjectURL(found.url)
  }

  watch(
    [of, id],
    () => {
      forget()
      void read()
    },
    { immediate: true },
  )
  watch([heard, count], () => unfinished.value && void read())
  const timer = setInterval(() => {
    if ((unfinished.value || failing.value) && document.visibilityState === 'visible') void read()
  }, AGAIN_MS)
  onScopeDispose(() => {
    run += 1
    clearInterval(timer)
    forget()
  })
  return { photos, failing, waiting, shown, read, load }
}
