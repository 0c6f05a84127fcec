/**
 * What the live map is about: an officer, or a task or an alarm, or a task that is being made; never two of them.
 *
 * The page's address says it as well, so that another page, the SOS banner or a notice can send somebody here.
 */
import { computed, ref, shallowRef, watch, type Ref } from 'vue'
import { useRoute, useRouter } from 'vue-router'
import type { LonLat } from '@/shared/types'
import { may, nowMs } from '../client'
import { draftOrigin, draftPlace } from '../dispatch/choosing'
import { dispatch } from '../dispatch/current'
import { placeOf, type Picked } from '../dispatch/queue'
import type { SheetHeight } from '../shell/BottomSheet.vue'
import { narrow } from '../shell/narrow'
import { listed } from './attention'
import { feed } from './current'

/** The map, as far as a selection moves it. */
export interface Shows {
  showOfficer(id: string, besideCard: boolean, always?: boolean): void
  showPlace(place: LonLat): void
}

export function useSelection(map: Readonly<Ref<Shows | undefined>>) {
  const route = useRoute()
  const router = useRouter()

  const selected = ref<string | null>(typeof route.query.officer === 'string' ? route.query.officer : null)
  const following = ref(false)
  const picked = shallowRef<Picked | null>(pickedIn(route.query))
  /** Whoever comes from a point of a patrol comes to make a task there. */
  const making = ref(draftOrigin.value !== null)
  draftPlace.value = draftOrigin.value?.place ?? null
  /** Pointed at, in a list or on the map. */
  const hovered = ref<string | null>(null)
  const hoveredPin = ref<string | null>(null)
  /** A point of the map that was asked about. */
  const here = ref<{ place: LonLat; x: number; y: number } | null>(null)
  const sheet = ref<SheetHeight>(route.query.task || route.query.alarm ? 'half' : 'peek')

  const row = computed(() => {
    const of = feed.value
    const tracked = selected.value && of && of.version.value >= 0 ? of.roster.officers.get(selected.value) : undefined
    return tracked ? listed(tracked, nowMs.value / 1000) : null
  })
  const carded = computed(() => making.value || picked.value !== null)

  // An officer ------------------------------------------------------------------------------------------------------
  function select(id: string | null): void {
    here.value = null
    if (id) leaveDispatch()
    if (id === selected.value) return
    selected.value = id
    if (!id) following.value = false
  }
  function selectAndShow(id: string): void {
    select(id)
    if (narrow.value) sheet.value = 'half'
    showSelected()
  }
  function showSelected(always = false): void {
    if (selected.value) map.value?.showOfficer(selected.value, row.value !== null, always)
  }
  function follow(on: boolean): void {
    following.value = on && row.value !== null
    if (following.value) showSelected(true)
  }

  // A task or an alarm ----------------------------------------------------------------------------------------------
  function pick(found: Picked): void {
    select(null)
    making.value = false
    picked.value = found
    if (narrow.value) sheet.value = 'half'
    showPicked()
  }
  function make(place: LonLat | null = null): void {
    if (!may('dispatch:task')) return
    select(null)
    here.value = null
    picked.value = null
    draftPlace.value = place
    making.value = true
    if (narrow.value) sheet.value = place ? 'half' : 'peek'
  }
  function leaveDispatch(): void {
    picked.value = null
    making.value = false
  }
  function pickedPlace(): LonLat | null {
    if (!picked.value) return draftPlace.value
    const { kind, id } = picked.value
    if (kind === 'task') return dispatch.value?.tasks.find(id)?.place ?? null
    const alarm = dispatch.value?.alarms.find(id)
    return alarm ? placeOf(alarm) : null
  }
  function showPicked(): void {
    const place = pickedPlace()
    if (place) map.value?.showPlace(place)
  }
  /** A thing that an address names may come only after the map is drawn. */
  const pickedKnown = computed(() => pickedPlace() !== null)
  watch(pickedKnown, (known) => {
    if (known && picked.value) showPicked()
  })

  /** Whatever is selected, once there is a map to show it on. */
  function showIt(): void {
    if (selected.value) showSelected()
    else showPicked()
  }

  // The address -----------------------------------------------------------------------------------------------------
  watch(
    () => route.query,
    (query) => {
      const found = pickedIn(query)
      if (found && found.id !== picked.value?.id) pick(found)
    },
  )
  watch(picked, (now) => {
    const { officer, task, alarm, ...rest } = route.query
    void officer, task, alarm
    void router.replace({ query: now ? { ...rest, [now.kind]: now.id } : selected.value ? { ...rest, officer: selected.value } : rest })
  })
  watch(selected, (id) => {
    if (id || !picked.value) void router.replace({ query: id ? { officer: id } : {} })
  })
  watch(row, (now, before) => {
    if (before && !now && selected.value) select(null)
  })

  return {
    selected, following, picked, making, hovered, hoveredPin, here, sheet, row, carded,
    select, selectAndShow, showSelected, follow, pick, make, leaveDispatch, showPicked, showIt,
  }
}
export type Selection = ReturnType<typeof useSelection>

function pickedIn(query: Record<string, unknown>): Picked | null {
  for (const kind of ['alarm', 'task'] as const) {
    const id = query[kind]
    if (typeof id === 'string') return { kind, id }
  }
  return null
}
