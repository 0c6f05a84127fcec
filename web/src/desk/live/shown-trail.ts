/** The last hour of the officer who is selected, while the desk wants to see it; it grows with his fixes. */
import { computed, ref, shallowRef, watch, type Ref } from 'vue'
import { useI18n } from 'vue-i18n'
import { explain } from '@/shared/api'
import { api, nowMs } from '../client'
import type { Trail } from '../types'
import { feed } from './current'
import { extend, figuresOf } from './trail'

export const TRAIL_MINUTES = 60

export function useShownTrail(selected: Readonly<Ref<string | null>>) {
  const { t } = useI18n()
  const trail = shallowRef<Trail | null>(null)
  const busy = ref(false)
  const problem = ref('')
  /** A trail grows in place: this says that it has. */
  const version = ref(0)
  const figures = computed(() => (trail.value && version.value >= 0 ? figuresOf(trail.value.segments) : null))

  function set(found: Trail | null): void {
    trail.value = found
    problem.value = ''
    version.value += 1
  }

  async function toggle(on: boolean): Promise<void> {
    const id = selected.value
    if (!on || !id) {
      set(null)
      return
    }
    busy.value = true
    problem.value = ''
    try {
      const found = await api.get<Trail>(`/api/v1/desk/officers/${encodeURIComponent(id)}/trail`, { minutes: TRAIL_MINUTES })
      if (selected.value !== id) return
      set(found)
      grow()
    } catch (error) {
      if (selected.value === id) problem.value = explain(error, t)
    } finally {
      busy.value = false
    }
  }

  function grow(): void {
    const place = trail.value ? feed.value?.roster.officers.get(trail.value.officer_id)?.place : null
    if (!trail.value || !place) return
    if (extend(trail.value, [place.lon, place.lat, place.fixedAtS, place.accuracyM])) version.value += 1
  }

  watch(selected, () => set(null))
  watch([() => feed.value?.version.value, nowMs], grow)

  return { trail, version, busy, problem, figures, toggle }
}
export type ShownTrail = ReturnType<typeof useShownTrail>
