/** The authenticator of one's own account, at the desk and on the phone: on by the password and a code, off by the password. */
import { computed, ref, shallowRef } from 'vue'
import { explain, type Api } from './api'
import type { Session } from './session'
import type { TotpSecret } from './types'

export interface AuthenticatorSurroundings {
  api: Pick<Api, 'post'>
  session: Pick<Session, 'user' | 'reload'>
  translate: Parameters<typeof explain>[1]
  /** Tells that it is on now, or off. */
  told: (on: boolean) => void
}

export function useAuthenticator({ api, session, translate, told }: AuthenticatorSurroundings) {
  const on = computed(() => session.user.value?.totp_enabled ?? false)
  /** Set while a code is awaited that shows that the secret is in an authenticator. */
  const secret = shallowRef<TotpSecret | null>(null)
  /** The password is awaited that switches it on or off. */
  const asking = ref(false)
  const code = ref('')
  const password = ref('')
  const busy = ref(false)
  const problem = ref('')
  const readable = computed(() => /^\d{6}$/.test(code.value.trim()))
  const qr = computed(() =>
    secret.value?.qr_svg ? `data:image/svg+xml;charset=utf-8,${encodeURIComponent(secret.value.qr_svg)}` : '',
  )

  async function attempt(act: () => Promise<void>): Promise<void> {
    if (busy.value) return
    busy.value = true
    problem.value = ''
    try {
      await act()
    } catch (error) {
      problem.value = explain(error, translate)
    } finally {
      busy.value = false
    }
  }
  const begin = () =>
    attempt(async () => {
      secret.value = await api.post<TotpSecret>('/api/v1/auth/totp', { password: password.value })
      asking.value = false
      password.value = ''
    })
  const confirm = () =>
    attempt(async () => {
      await api.post('/api/v1/auth/totp/confirm', { code: code.value.trim() })
      await session.reload()
      secret.value = null
      code.value = ''
      told(true)
    })
  const disable = () =>
    attempt(async () => {
      await api.post('/api/v1/auth/totp/disable', { password: password.value })
      await session.reload()
      asking.value = false
      password.value = ''
      told(false)
    })
  /** He has thought better of it: nothing has changed yet. */
  function leave(): void {
    asking.value = false
    secret.value = null
    code.value = password.value = problem.value = ''
  }
  return { on, secret, qr, asking, code, readable, password, busy, problem, begin, confirm, disable, leave }
}
