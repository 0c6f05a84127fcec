/**
 * How far the photos of one's own reports have come, as the server says, and the small picture of each that is sealed.
 *
 * Both are asked for when a photo comes into view. A look at a picture is written down, so each is fetched once and kept
 * in memory until the officer signs out; what is still on this phone is shown from this phone.
 */
import { reactive } from 'vue'
import { Problem, type Api } from '@/shared/api'
import type { Changes } from '@/shared/changes'
import type { OfficerEvidence } from '@/shared/types'

/** `expected`: the server has heard nothing of it yet. */
export interface OwnPhoto {
  state: 'expected' | OfficerEvidence['state']
  reason: OfficerEvidence['reason']
}

export function createOwnPhotos(api: Pick<Api, 'get' | 'response'>, changes: Pick<Changes, 'onChange'>) {
  const found = reactive(new Map<string, OwnPhoto>())
  const previews = reactive(new Map<string, string>())
  const asked = new Set<string>()
  const fetching = new Set<string>()
  let run = 0

  /** Reads how far it has come, and its small picture once it is sealed; what does not answer is asked again by the next look. */
  async function look(id: string): Promise<void> {
    if (asked.has(id) || isOver(id) && (previews.has(id) || found.get(id)?.state === 'rejected')) return
    const mine = run
    asked.add(id)
    try {
      const { state, reason, has_preview } = await api.get<OfficerEvidence>(`/api/v1/officer/evidence/${id}`)
      if (mine !== run) return
      found.set(id, { state, reason })
      if (state === 'sealed' && has_preview) await fetchPreview(id)
    } catch (error) {
      if (mine === run && error instanceof Problem && error.status === 404) found.set(id, { state: 'expected', reason: null })
    } finally {
      if (mine === run) asked.delete(id)
    }
  }
  async function fetchPreview(id: string): Promise<void> {
    if (previews.has(id) || fetching.has(id)) return
    const mine = run
    fetching.add(id)
    try {
      const answer = await api.response('GET', `/api/v1/officer/evidence/${id}/preview`, { accept: 'image/jpeg', timeoutMs: 60_000 })
      const picture = await answer.blob()
      if (mine === run) previews.set(id, URL.createObjectURL(picture))
    } finally {
      if (mine === run) fetching.delete(id)
    }
  }
  const isOver = (id: string) => ['sealed', 'rejected'].includes(found.get(id)?.state ?? '')

  function leave(): void {
    run += 1
    for (const url of previews.values()) URL.revokeObjectURL(url)
    previews.clear()
    found.clear()
    asked.clear()
    fetching.clear()
  }

  // Only what has been looked at is read anew, and nothing that is over.
  changes.onChange((change) => {
    if (change && change.kind !== 'evidence') return
    for (const id of change ? [change.id] : [...found.keys()]) if (found.has(id) && !isOver(id)) void look(id)
  })

  return { found, previews, look, leave }
}
export type OwnPhotos = ReturnType<typeof createOwnPhotos>
