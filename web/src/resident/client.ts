/** What every screen of the resident client shares. */
import { createApi } from '@/shared/api'
import { createChanges } from '@/shared/changes'
import { createSession } from '@/shared/session'
import { createSos } from '@/shared/sos'

export const session = createSession('resident')
export const api = createApi(session)
export const sos = createSos(session, api, createChanges(session, '/resident'), 'resident')
