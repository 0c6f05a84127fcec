/** The service worker of a phone client: it starts without a network, and a new version waits until it is wanted. */
import { ref } from 'vue'
import { Workbox } from 'workbox-window'

export const updateReady = ref(false)
let workbox: Workbox | null = null

export function registerServiceWorker(client: 'officer' | 'resident'): void {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return
  workbox = new Workbox(`/${client}/sw.js`, { scope: `/${client}/` })
  workbox.addEventListener('waiting', () => (updateReady.value = true))
  void workbox.register().catch(() => {
    // Without it the client works as long as there is a network.
  })
  // A phone keeps the page open for a whole shift: look for a new version now and then.
  setInterval(() => void workbox?.update().catch(() => undefined), 3_600_000)
}

/** Fixes are safe in the store: a reload during a shift costs a second of recording and nothing else. */
export function updateNow(): void {
  workbox?.addEventListener('controlling', () => globalThis.location.reload())
  workbox?.messageSkipWaiting()
}

interface InstallPrompt extends Event {
  prompt(): Promise<void>
}
export const installPrompt = ref<InstallPrompt | null>(null)
export const installed = ref(
  globalThis.matchMedia?.('(display-mode: standalone)').matches ||
    (globalThis.navigator as Navigator & { standalone?: boolean })?.standalone === true,
)
globalThis.addEventListener?.('beforeinstallprompt', (event) => {
  event.preventDefault()
  installPrompt.value = event as InstallPrompt
})
globalThis.addEventListener?.('appinstalled', () => {
  installed.value = true
  installPrompt.value = null
})
