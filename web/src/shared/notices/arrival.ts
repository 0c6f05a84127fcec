/** How a page is come to from a notice: by a link in a message, by a notification that was touched. */
import type { RouteLocationNormalized, RouteLocationRaw, Router } from 'vue-router'
import type { Push } from './push'
import type { Notices } from './store'

/**
 * An address that names a notice: opening it is reading the notice. One that names nothing else (the links in mails and
 * WeCom) leads to the list, which goes on to what the notice is about.
 */
export function acceptNotice(to: RouteLocationNormalized, notices: Pick<Notices, 'opened'>): RouteLocationRaw | true {
  const { notice, ...rest } = to.query
  if (typeof notice !== 'string') return true
  if (to.path === '/') return { name: 'notices', query: { open: notice }, replace: true }
  void notices.opened(notice)
  return { path: to.path, query: rest, hash: to.hash, replace: true }
}

/** What the service worker says to the pages that are open. */
export function hearWorker(router: Pick<Router, 'push'>, notices: Pick<Notices, 'opened' | 'heard'>, push: Pick<Push, 'renew'>): void {
  globalThis.navigator?.serviceWorker?.addEventListener('message', ({ data }: MessageEvent<unknown>) => {
    const said = data as { type?: unknown; page?: unknown; event_id?: unknown } | null
    if (said?.type === 'notice') notices.heard()
    if (said?.type === 'push-changed') void push.renew().catch(() => undefined)
    if (said?.type === 'open-notice' && typeof said.page === 'string' && said.page.startsWith('/')) {
      if (typeof said.event_id === 'string') void notices.opened(said.event_id)
      void router.push(said.page)
    }
  })
}
