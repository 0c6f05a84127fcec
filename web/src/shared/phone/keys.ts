/**
 * Enter and the space bar on Vant's switches, boxes, cells and ways to other screens: it draws them as elements that the Tab key reaches
 * and that hear touches alone.
 */
const PRESSED = ['button', 'checkbox', 'link', 'radio', 'switch'].map((role) => `div[role='${role}'], i[role='${role}']`).join()

/** Called once by each phone client. */
export function pressByKey(): void {
  addEventListener('keydown', (event) => {
    const { target, key } = event
    if (event.defaultPrevented || (key !== 'Enter' && key !== ' ')) return
    if (!(target instanceof HTMLElement) || !target.matches(PRESSED)) return
    event.preventDefault()
    target.click()
  })
}
