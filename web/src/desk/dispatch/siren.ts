/**
 * The sound of an SOS, made by the browser itself: two tones, for as long as nobody has taken the call on.
 *
 * A browser is silent until somebody has touched the page. That is said (`blocked`), and the first touch mends it.
 */
import { ref, type Ref } from 'vue'

export interface Siren {
  /** It should be heard, and the browser does not let it. */
  readonly blocked: Readonly<Ref<boolean>>
  sound(on: boolean): void
  /** Call from within a gesture of the person. */
  unlock(): void
}

const EVERY_MS = 1_100
const TONES_HZ = [880, 660] as const
const TONE_S = 0.42
const LOUD = 0.32

function touched(): boolean {
  return (navigator as Navigator & { userActivation?: UserActivation }).userActivation?.hasBeenActive ?? false
}

export function createSiren(make: () => AudioContext = () => new AudioContext(), active: () => boolean = touched): Siren {
  const blocked = ref(false)
  let context: AudioContext | null = null
  let timer: ReturnType<typeof setInterval> | undefined
  let unlocked = false

  function ready(): AudioContext | null {
    // Made before anybody has touched the page it would be silent for good in some browsers, and complained about in others.
    if (!context && (unlocked || active())) {
      try {
        context = make()
      } catch {
        return null
      }
    }
    return context
  }

  function beat(): void {
    const audio = ready()
    blocked.value = audio?.state !== 'running'
    if (!audio) return
    if (audio.state !== 'running') {
      void audio.resume().then(
        () => (blocked.value = timer !== undefined && audio.state !== 'running'),
        () => undefined,
      )
      return
    }
    TONES_HZ.forEach((hertz, position) => {
      const from = audio.currentTime + position * (TONE_S + 0.04)
      const tone = audio.createOscillator()
      const volume = audio.createGain()
      tone.type = 'triangle'
      tone.frequency.value = hertz
      volume.gain.setValueAtTime(0, from)
      volume.gain.linearRampToValueAtTime(LOUD, from + 0.03)
      volume.gain.setValueAtTime(LOUD, from + TONE_S - 0.05)
      volume.gain.linearRampToValueAtTime(0, from + TONE_S)
      tone.connect(volume).connect(audio.destination)
      tone.start(from)
      tone.stop(from + TONE_S)
    })
  }

  return {
    blocked,
    sound(on) {
      if (!on) {
        clearInterval(timer)
        timer = undefined
        blocked.value = false
      } else if (timer === undefined) {
        timer = setInterval(beat, EVERY_MS)
        beat()
      }
    },
    unlock() {
      unlocked = true
      if (timer !== undefined && blocked.value) beat()
    },
  }
}
