/** What every screen of the resident client shares. */
import { createApi } from '@/shared/api'
import { createSession } from '@/shared/session'

export const session = createSession('resident')
export const api = createApi(session)
