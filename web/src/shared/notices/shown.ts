/** What a pushed message looks like on the screen of a phone that is asleep. No imports but of pure words: it runs in workers. */
import { LIST, pageOf, type About, type Client } from './pages'

export interface Pushed extends About {
  event_id: string
  title: string
  body: string
  language: string
  urgent: boolean
}
/** What TypeScript's library does not know yet, and phones do. */
export type Options = NotificationOptions & { renotify?: boolean; vibrate?: number[]; timestamp?: number }
export interface Shown {
  title: string
  options: Options & { data: { event_id: string | null; page: string } }
}

const LONG_BUZZ = [500, 150, 500, 150, 500, 150, 500, 150, 900]
const BUZZ = [250, 120, 250]

/** Reads a message; null for what is none of ours. */
export function readPush(text: string): Pushed | null {
  let found: Partial<Record<keyof Pushed, unknown>>
  try {
    found = JSON.parse(text) as typeof found
  } catch {
    return null
  }
  if (typeof found !== 'object' || found === null) return null
  const word = (name: keyof Pushed) => (typeof found[name] === 'string' ? (found[name] as string) : '')
  if (!word('event_id') || !word('title')) return null
  return {
    event_id: word('event_id'),
    kind: word('kind'),
    subject_kind: word('subject_kind'),
    subject_id: word('subject_id'),
    title: word('title'),
    body: word('body'),
    language: word('language') || 'zh-CN',
    urgent: found.urgent === true,
  }
}

/**
 * Of one subject the newest notification replaces the older ones, and makes itself heard again. One about somebody in
 * danger stands until it is touched. A message that cannot be read is shown all the same: a browser takes the
 * permission away from whoever wakes it and shows nothing.
 */
export function shownAs(client: Client, pushed: Pushed | null, now: number): Shown {
  const looks = { icon: `/icons/${client === 'desk' ? 'officer' : client}-192.png`, timestamp: now }
  if (!pushed) {
    return { title: '新通知 · New notice', options: { ...looks, tag: 'notice', data: { event_id: null, page: LIST } } }
  }
  return {
    title: pushed.title,
    options: {
      ...looks,
      body: pushed.body,
      lang: pushed.language,
      tag: pushed.subject_id ? `${pushed.subject_kind}:${pushed.subject_id}` : pushed.event_id,
      renotify: true,
      requireInteraction: pushed.urgent,
      vibrate: pushed.urgent ? LONG_BUZZ : BUZZ,
      data: { event_id: pushed.event_id, page: pageOf(client, pushed) },
    },
  }
}

/** A page of the client as an address; it says which notice led there, so that opening it is reading it. */
export function addressOf(scope: string, { page, event_id }: { page: string; event_id: string | null }): string {
  const url = new URL(scope.replace(/\/$/, '') + page)
  if (event_id) url.searchParams.set('notice', event_id)
  return url.href
}
