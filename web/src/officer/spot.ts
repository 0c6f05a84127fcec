/** Where the officer stands now: as his shift's recorder has it, or, off shift, as the phone says because he reports. */
import { onBeforeUnmount, onMounted, ref, shallowRef } from 'vue'
import { duty } from './client'
import type { Spot } from './reports'

/** What was measured longer ago is somewhere else by now. */
const FRESH_MS = 60_000
const LOCATE_MS = 20_000
const AGAIN_MS = 10_000

export function useSpot() {
  const asked = shallowRef<Spot | null>(null)
  const searching = ref(false)
  const now = ref(Date.now())
  let timer: ReturnType<typeof setInterval> | undefined

  function newest(): Spot | null {
    const here = duty.recorder.here.value
    const both = [asked.value, here && { place: here.place, accuracy_m: here.accuracy_m, t: here.t }]
    const fresh = both.filter((spot): spot is Spot => spot !== null && now.value - spot.t < FRESH_MS)
    return fresh.sort((a, b) => b.t - a.t)[0] ?? null
  }
  function locate(): void {
    const geolocation = globalThis.isSecureContext === false ? null : (navigator.geolocation ?? null)
    if (!geolocation || searching.value) return
    searching.value = true
    geolocation.getCurrentPosition(
      ({ coords, timestamp }) => {
        searching.value = false
        asked.value = { place: [coords.longitude, coords.latitude], accuracy_m: coords.accuracy, t: timestamp }
      },
      () => (searching.value = false),
      { enableHighAccuracy: true, timeout: LOCATE_MS, maximumAge: 10_000 },
    )
  }
  onMounted(() => {
    if (!newest()) locate()
    timer = setInterval(() => {
      now.value = Date.now()
      if (!newest()) locate()
    }, AGAIN_MS)
  })
  onBeforeUnmount(() => clearInterval(timer))
  return { newest, searching, locate }
}
