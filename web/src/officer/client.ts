/** What every screen of the officer client shares: the session, the API and the duty. */
import { createApi } from '@/shared/api'
import { createSession } from '@/shared/session'
import { createDuty } from './duty'

export const session = createSession('officer')
export const api = createApi(session)
export const duty = createDuty(session, api)
