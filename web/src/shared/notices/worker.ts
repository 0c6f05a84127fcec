/**
 * The part of a service worker that shows what is pushed, and opens its page when it is touched. Built as a script of
 * its own (`web/build/push-worker.ts`): the phone clients' workers import it, and at the desk it is the whole worker.
 */
import type { Client } from './pages'
import { addressOf, readPush, shownAs, type Shown } from './shown'

/** As much of the worker's global scope as is used here; TypeScript's own types for workers exclude those for pages. */
interface Scope {
  registration: ServiceWorkerRegistration
  clients: {
    matchAll(options: { type: 'window'; includeUncontrolled: boolean }): Promise<(Page & { focused: boolean })[]>
    openWindow(url: string): Promise<unknown>
  }
  caches: CacheStorage
  addEventListener(type: string, listener: (event: Woken) => void): void
}
interface Page {
  url: string
  focus(): Promise<unknown>
  postMessage(message: unknown): void
}
interface Woken {
  data?: { text(): string } | null
  notification?: Notification
  waitUntil(work: Promise<unknown>): void
}

const scope = globalThis as unknown as Scope
const SEEN = 'xungeng-push-seen'
/** So many events are remembered: a message is sent at least once, and shown once. */
const MOST_SEEN = 50

const client = () => new URL(scope.registration.scope).pathname.split('/')[1] as Client

/** Says whether an event has been shown before, and remembers it. */
async function isRepeat(eventId: string): Promise<boolean> {
  try {
    const seen = await scope.caches.open(SEEN)
    const key = `/push-seen/${encodeURIComponent(eventId)}`
    if (await seen.match(key)) return true
    await seen.put(key, new Response(''))
    const keys = await seen.keys()
    await Promise.all(keys.slice(0, -MOST_SEEN).map((old) => seen.delete(old)))
  } catch {
    // Without storage a repeat is shown twice, under one tag.
  }
  return false
}

async function show(text: string): Promise<void> {
  const pushed = readPush(text)
  const { title, options } = shownAs(client(), pushed, Date.now())
  if (pushed && (await isRepeat(pushed.event_id))) {
    const standing = await scope.registration.getNotifications({ tag: options.tag })
    // What still stands stays as it is. What was put away comes back in silence: something has to be shown.
    if (standing.length === 0) await scope.registration.showNotification(title, { ...options, renotify: false, vibrate: undefined, silent: true } as NotificationOptions)
    return
  }
  await scope.registration.showNotification(title, options)
  for (const page of await pages()) page.postMessage({ type: 'notice' })
}

async function pages() {
  const all = await scope.clients.matchAll({ type: 'window', includeUncontrolled: true })
  return all.filter(({ url }) => url.startsWith(scope.registration.scope))
}

async function open(notification: Notification): Promise<void> {
  notification.close()
  const data = (notification.data ?? { page: '/notices', event_id: null }) as Shown['options']['data']
  const there = await pages()
  const page = there.find(({ focused }) => focused) ?? there[0]
  if (!page) {
    await scope.clients.openWindow(addressOf(scope.registration.scope, data))
    return
  }
  page.postMessage({ type: 'open-notice', ...data })
  await page.focus().catch(() => undefined)
}

scope.addEventListener('push', (event) => event.waitUntil(show(event.data?.text() ?? '')))
scope.addEventListener('notificationclick', (event) => {
  if (event.notification) event.waitUntil(open(event.notification))
})
// The browser has changed its address: the open pages tell the server the new one.
scope.addEventListener('pushsubscriptionchange', (event) =>
  event.waitUntil(pages().then((all) => all.forEach((page) => page.postMessage({ type: 'push-changed' })))),
)
