/** Play, pause, speed: the clock of a replay. */
import { onBeforeUnmount, ref, watch, type Ref } from 'vue'
import { advance, type Interval } from './playback'

export const SPEEDS = [1, 2, 5, 10, 30, 60, 120] as const

export interface Player {
  timeS: Ref<number>
  playing: Ref<boolean>
  speed: Ref<number>
  skipGaps: Ref<boolean>
  seek(timeS: number): void
  toggle(): void
  faster(by: 1 | -1): void
}

export interface Span {
  fromS: number
  toS: number
  active: readonly Interval[]
}

export function usePlayer(span: () => Span): Player {
  const timeS = ref(span().fromS)
  const playing = ref(false)
  const speed = ref<number>(30)
  const skipGaps = ref(true)
  let frame = 0
  let lastMs = 0

  const tick = (nowMs: number) => {
    frame = 0
    if (!playing.value) return
    // A hidden page gets no frames; time does not jump when it is shown again.
    const elapsedMs = Math.min(250, nowMs - lastMs)
    lastMs = nowMs
    const { fromS, toS, active } = span()
    timeS.value = advance(timeS.value, elapsedMs, { fromS, toS, active, speed: speed.value, skipGaps: skipGaps.value })
    if (timeS.value >= toS) playing.value = false
    else frame = requestAnimationFrame(tick)
  }

  watch(playing, (on) => {
    cancelAnimationFrame(frame)
    if (!on) return
    const { fromS, toS } = span()
    if (timeS.value >= toS) timeS.value = fromS
    lastMs = performance.now()
    frame = requestAnimationFrame(tick)
  })
  watch(
    () => [span().fromS, span().toS] as const,
    ([fromS]) => {
      playing.value = false
      timeS.value = fromS
    },
  )
  onBeforeUnmount(() => cancelAnimationFrame(frame))

  return {
    timeS,
    playing,
    speed,
    skipGaps,
    seek(to) {
      const { fromS, toS } = span()
      timeS.value = Math.min(toS, Math.max(fromS, to))
    },
    toggle() {
      playing.value = !playing.value
    },
    faster(by) {
      const at = SPEEDS.findIndex((one) => one === speed.value)
      speed.value = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, at + by))]!
    },
  }
}
