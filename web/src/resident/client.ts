/** What every screen of the resident client shares. */
import { createApi } from '@/shared/api'
import { createChanges } from '@/shared/changes'
import { createPush } from '@/shared/notices/push'
import { createNotices } from '@/shared/notices/store'
import { createSession } from '@/shared/session'
import { createSos } from '@/shared/sos'
import { createWechat } from '@/shared/wechat'

export const session = createSession('resident')
export const api = createApi(session)
const changes = createChanges(session, '/resident')
export const sos = createSos(session, api, changes, 'resident')
export const notices = createNotices(session, api, 'resident')
export const push = createPush(api, 'resident')
export const wechat = createWechat(session, api, 'resident')
changes.onNotice(notices.heard)
changes.onChange((change) => change === null && notices.heard())
