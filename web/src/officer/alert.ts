/** What makes an officer look at his phone: it buzzes and rings. Browsers ring only after a first touch of the page. */
let audio: AudioContext | null = null

function wake(): void {
  try {
    audio ??= new AudioContext()
    if (audio.state === 'suspended') void audio.resume()
  } catch {
    // No sound on this device; the buzz and the badge are left.
  }
}
if (globalThis.addEventListener) for (const kind of ['pointerdown', 'keydown']) globalThis.addEventListener(kind, wake, { passive: true })

/** Two rising tones, twice; what is critical rings three times. */
export function ring(critical: boolean): void {
  globalThis.navigator?.vibrate?.(critical ? [400, 150, 400, 150, 400, 150, 400] : [250, 120, 250])
  if (!audio || audio.state !== 'running') return
  for (let time = 0; time < (critical ? 3 : 2); time += 1) {
    tone(880, audio.currentTime + time * 0.6)
    tone(1175, audio.currentTime + time * 0.6 + 0.2)
  }
}

function tone(frequencyHz: number, at: number): void {
  const oscillator = audio!.createOscillator()
  const gain = audio!.createGain()
  oscillator.frequency.value = frequencyHz
  gain.gain.setValueAtTime(0.0001, at)
  gain.gain.exponentialRampToValueAtTime(0.4, at + 0.02)
  gain.gain.exponentialRampToValueAtTime(0.0001, at + 0.19)
  oscillator.connect(gain).connect(audio!.destination)
  oscillator.start(at)
  oscillator.stop(at + 0.2)
}

/** The figure on the app's icon, where the system shows one. */
export function badge(count: number): void {
  const navigator = globalThis.navigator as Navigator & { setAppBadge?: (count: number) => Promise<void>; clearAppBadge?: () => Promise<void> }
  void (count ? navigator.setAppBadge?.(count) : navigator.clearAppBadge?.())?.catch(() => undefined)
}
