/**
 * Web Push to this browser: whether it can be had here and why not, and the two presses that begin and end it. The
 * address belongs to the session that registers it and ends with it.
 */
import { computed, ref } from 'vue'
import type { Api } from '../api'
import type { Schemas } from '../types'
import type { Client } from './pages'

type Reach = Schemas['OfficerReach']
export type Address = Schemas['OfficerAddress']
/**
 * `unset`: the installation has no Web Push. `insecure`: plain HTTP. `wechat`: WeChat's own browser. `install`: an iPhone
 * gives it to apps on the home screen alone. `unsupported`: this browser has none. `unreachable`: it has, but its
 * maker's push service does not answer (mainland phones without Google). `denied`: the person said no.
 */
export type PushState = 'unknown' | 'unset' | 'insecure' | 'wechat' | 'install' | 'unsupported' | 'unreachable' | 'denied' | 'off' | 'on'

export interface PushSurroundings {
  secure: () => boolean
  userAgent: () => string
  standalone: () => boolean
  /** Undefined where the browser has no notifications. */
  permission: () => NotificationPermission | undefined
  ask: () => Promise<NotificationPermission>
  worker: () => Promise<ServiceWorkerRegistration | undefined>
}

const browser = (client: Client): PushSurroundings => ({
  secure: () => globalThis.isSecureContext !== false,
  userAgent: () => globalThis.navigator?.userAgent ?? '',
  standalone: () =>
    Boolean(globalThis.matchMedia?.('(display-mode: standalone)').matches) || (globalThis.navigator as Navigator & { standalone?: boolean })?.standalone === true,
  permission: () => globalThis.Notification?.permission,
  ask: () => globalThis.Notification.requestPermission(),
  worker: async () => await globalThis.navigator?.serviceWorker?.getRegistration(`/${client}/`),
})

export function createPush(api: Api, client: Client, around: PushSurroundings = browser(client)) {
  const base = `/api/v1/${client}`
  const state = ref<PushState>('unknown')
  const addresses = ref<Address[]>([])
  const channels = ref<string[]>([])
  const busy = ref(false)
  let key: string | null = null

  const mine = computed(() => addresses.value.find(({ channel, this_session }) => channel === 'webpush' && this_session) ?? null)

  /** Why it cannot be had here, whatever one presses; null when it can. */
  async function hindrance(): Promise<PushState | null> {
    if (!key) return 'unset'
    if (/MicroMessenger/i.test(around.userAgent())) return 'wechat'
    if (!around.secure()) return 'insecure'
    const worker = await around.worker()
    if (!worker?.pushManager || around.permission() === undefined) {
      return /iPhone|iPad/.test(around.userAgent()) && !around.standalone() ? 'install' : 'unsupported'
    }
    return around.permission() === 'denied' ? 'denied' : null
  }

  /** Asks the server and the browser how things stand. Raises what the server refuses. */
  async function look(): Promise<void> {
    const [reach, listed] = await Promise.all([
      api.get<Reach>(`${base}/reach`),
      api.get<{ items: Address[] }>(`${base}/addresses`),
    ])
    key = reach.webpush_key
    channels.value = reach.channels
    addresses.value = listed.items
    const why = await hindrance()
    const subscribed = why ? null : await (await around.worker())?.pushManager.getSubscription()
    state.value = why ?? (mine.value && subscribed ? 'on' : 'off')
  }

  /** Has to be called by a press: browsers ask nobody who did not touch anything. */
  async function turnOn(): Promise<void> {
    if (busy.value || !key) return
    busy.value = true
    try {
      if ((await around.ask()) !== 'granted') {
        state.value = around.permission() === 'denied' ? 'denied' : 'off'
        return
      }
      const manager = (await around.worker())!.pushManager
      // One that was made with another key brings nothing.
      await (await manager.getSubscription())?.unsubscribe()
      let subscription: PushSubscription
      try {
        subscription = await manager.subscribe({ userVisibleOnly: true, applicationServerKey: bytesOf(key) })
      } catch {
        state.value = 'unreachable'
        return
      }
      const { endpoint, keys } = subscription.toJSON()
      await api.post(`${base}/addresses`, { channel: 'webpush', token: endpoint, keys: { p256dh: keys?.p256dh, auth: keys?.auth } })
      await look()
    } finally {
      busy.value = false
    }
  }

  /** The browser has given up its old address: the new one is told, where notifications were on. */
  async function renew(): Promise<void> {
    await look()
    if (mine.value && around.permission() === 'granted') await turnOn()
  }

  async function turnOff(): Promise<void> {
    if (busy.value) return
    busy.value = true
    try {
      if (mine.value) await api.post(`${base}/addresses/${mine.value.id}/end`)
      await (await (await around.worker())?.pushManager.getSubscription())?.unsubscribe()
      await look()
    } finally {
      busy.value = false
    }
  }

  /** Another phone or browser of mine is to be left alone. */
  async function end(address: Address): Promise<void> {
    if (address.id === mine.value?.id) return turnOff()
    await api.post(`${base}/addresses/${address.id}/end`)
    await look()
  }

  return { state, busy, addresses, channels, mine, look, turnOn, turnOff, renew, end }
}
export type Push = ReturnType<typeof createPush>

/** The bytes of a key in base64url, as `subscribe` takes them in every browser. */
export function bytesOf(key: string): Uint8Array<ArrayBuffer> {
  const text = atob(key.replace(/-/g, '+').replace(/_/g, '/').padEnd(Math.ceil(key.length / 4) * 4, '='))
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0))
}
