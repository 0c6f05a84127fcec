/**
 * Who is being chosen for what: shared by the card that shows the nearest officers and by the map, where officers are
 * clicked and symbols are dragged onto each other.
 */
import { computed, ref, shallowRef } from 'vue'
import type { LonLat } from '@/shared/types'

/** `new`, or a task's or an alarm's id; null while nobody is being chosen. */
export const choosingFor = ref<string | null>(null)
export const chosen = shallowRef<readonly string[]>([])
/** The place of the task that is being made. */
export const draftPlace = shallowRef<LonLat | null>(null)
/** The point of a patrol at which the need for the task was found. */
export interface DraftOrigin {
  patrol: { id: string; number: number }
  place: LonLat
  placeName: string
  description: string
}
/** Set by whoever sends somebody here to make a task; it is over when the task is made, or is not. */
export const draftOrigin = shallowRef<DraftOrigin | null>(null)
/** The next click on the map sets the place. */
export const placing = ref(false)
export const isChoosing = computed(() => choosingFor.value !== null)

export const MOST_CHOSEN = 50

export function beginChoosing(what: string, ids: readonly string[] = []): void {
  choosingFor.value = what
  chosen.value = [...ids]
}

export function endChoosing(what?: string): void {
  if (what !== undefined && choosingFor.value !== what) return
  choosingFor.value = null
  chosen.value = []
  placing.value = false
}

export function toggleChosen(id: string): void {
  if (chosen.value.includes(id)) chosen.value = chosen.value.filter((one) => one !== id)
  else if (chosen.value.length < MOST_CHOSEN) chosen.value = [...chosen.value, id]
}

export function choose(id: string): void {
  if (!chosen.value.includes(id)) toggleChosen(id)
}

/** An officer and a symbol were brought together on the map: the card of the thing begins the act with him chosen. */
export const joined = shallowRef<{ id: string; officerIds: readonly string[] } | null>(null)
