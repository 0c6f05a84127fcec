/** What every screen of the officer client shares: session, API, duty, tasks, rounds, reports, photos, the desk's calls and the call for help. */
import { createApi } from '@/shared/api'
import { createChanges } from '@/shared/changes'
import { createPush } from '@/shared/notices/push'
import { createNotices } from '@/shared/notices/store'
import { createSession } from '@/shared/session'
import { createSos } from '@/shared/sos'
import { createWechat } from '@/shared/wechat'
import { ring } from './alert'
import { createCalls } from './calls'
import { createDispatch } from './dispatch'
import { createDuty } from './duty'
import { createOwnPhotos } from './own-photos'
import { createPhotos } from './photos'
import { createReports } from './reports'
import { createRounds } from './rounds'

export const session = createSession('officer')
export const api = createApi(session)
export const duty = createDuty(session, api)
export const changes = createChanges(session, '/officer')
export const dispatch = createDispatch(session, api, duty, changes, {
  alert: ({ priority }) => ring(priority === 'critical'),
  now: () => Date.now(),
})
export const rounds = createRounds(session, api, duty, changes, { here: () => duty.recorder.here.value, now: () => Date.now() })
export const reports = createReports(session, api, changes)
export const photos = createPhotos(session, api, changes)
export const ownPhotos = createOwnPhotos(api, changes)
export const calls = createCalls(session, api, duty, changes, {
  alert: () => ring(false),
  here: () => duty.recorder.here.value,
  now: () => Date.now(),
})
export const sos = createSos(session, api, changes, 'officer', {
  here: () => {
    const here = duty.recorder.here.value ?? duty.trail.value[duty.trail.value.length - 1]
    return here ? { place: here.place, accuracy_m: here.accuracy_m, t: here.t } : null
  },
})

export const notices = createNotices(session, api, 'officer')
export const push = createPush(api, 'officer')
export const wechat = createWechat(session, api, 'officer')
changes.onNotice(notices.heard)
changes.onChange((change) => change === null && notices.heard())
