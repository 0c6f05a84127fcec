const KEPT_AT = 'xungeng.reloaded'
const AT_MOST_EVERY_MS = 60_000

/**
 * After an update of the server the pieces that an old page would still fetch are gone: the new page has them.
 *
 * Once a minute at most: where a piece is missing for good, a page in a circle would be worse than an error. Answers
 * whether the page is being fetched.
 */
export function fetchNewPage(): boolean {
  const last = Number(sessionStorage.getItem(KEPT_AT) ?? 0)
  if (Date.now() - last < AT_MOST_EVERY_MS) return false
  sessionStorage.setItem(KEPT_AT, String(Date.now()))
  location.reload()
  return true
}
