/** The one live feed of this page: it goes on while other screens are open, so that coming back shows the present. */
import { shallowRef, watch } from 'vue'
import { api, may, session, setServerTime } from '../client'
import { createFeed, type Feed } from './feed'

export const feed = shallowRef<Feed | null>(null)

/** Runs for as long as somebody is signed in who may see officers. */
export function keepFeed(): void {
  watch(
    () => (session.signedIn.value && may('see:officer') ? session.sessionId.value : null),
    (sessionId) => {
      feed.value?.close()
      feed.value = sessionId ? createFeed(session, api, { onServerTime: setServerTime }) : null
    },
    { immediate: true },
  )
}
