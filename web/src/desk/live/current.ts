/** The one live feed of this page: it goes on while other screens are open, so that coming back shows the present. */
import { shallowRef, watch } from 'vue'
import { openSocket } from '@/shared/socket'
import { api, may, notices, session, setServerTime } from '../client'
import { beginAppraisals } from '../appraisals/current'
import { beginCalls } from '../calls/current'
import { beginRounds } from '../rounds/current'
import { beginDispatch, endDispatch } from '../dispatch/current'
import { beginReports, endReports } from '../reports/current'
import { createFeed, type Feed } from './feed'

export const feed = shallowRef<Feed | null>(null)

/** Runs for as long as somebody is signed in who may see officers. Tasks, alarms, reports and calls come by the same socket. */
export function keepFeed(): void {
  watch(
    () => (session.signedIn.value && may('see:officer') ? session.sessionId.value : null),
    (sessionId) => {
      endDispatch()
      endReports()
      feed.value?.close()
      feed.value = null
      if (!sessionId) return
      const socket = openSocket(session, '/desk')
      socket.on('notice', notices.heard)
      socket.on('behind', notices.heard)
      feed.value = createFeed(session, api, { open: () => socket, onServerTime: setServerTime })
      beginDispatch(socket)
      beginReports(socket)
      beginCalls(socket)
      beginRounds(socket)
      beginAppraisals(socket)
    },
    { immediate: true },
  )
}
