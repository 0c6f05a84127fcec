/** What a label or a tag says: only what this installation has printed is taken. */

/** As the API takes it. */
export interface Code {
  token: string
  picc_data: string | null
  cmac: string | null
}
export type Reading = { code: Code } | { refusal: 'foreign' | 'unreadable' }

const TOKEN = /^[0-9A-Za-z_-]{8,64}$/
const PICC_DATA = /^[0-9A-Fa-f]{32}$/
const CMAC = /^[0-9A-Fa-f]{16}$/

/** A token with what a tag that signs has said; null where it cannot be one of ours. */
export function codeOf(token: string, said: { picc_data?: string | null; cmac?: string | null } = {}): Code | null {
  const { picc_data = null, cmac = null } = said
  if (!TOKEN.test(token)) return null
  if (picc_data === null && cmac === null) return { token, picc_data, cmac }
  // Half a signature is none, and what is damaged is not passed on as a tag that does not sign.
  return PICC_DATA.test(picc_data ?? '') && CMAC.test(cmac ?? '') ? { token, picc_data, cmac } : null
}

/** Reads `{origin}/c/{token}`, `{origin}/t/{token}?picc_data=…&cmac=…`, or a token as it is printed below a label. */
export function readCode(text: string, origin: string): Reading {
  const words = text.trim()
  if (TOKEN.test(words)) return { code: { token: words, picc_data: null, cmac: null } }
  if (!/^[a-z][a-z0-9+.-]*:/i.test(words)) return { refusal: 'unreadable' }
  let url: URL
  try {
    url = new URL(words)
  } catch {
    return { refusal: 'unreadable' }
  }
  if (url.origin !== origin) return { refusal: 'foreign' }
  const [, token] = /^\/[ct]\/([^/]+)$/.exec(url.pathname) ?? []
  const said = { picc_data: url.searchParams.get('picc_data'), cmac: url.searchParams.get('cmac') }
  const code = token ? codeOf(token, said) : null
  return code ? { code } : { refusal: 'unreadable' }
}
