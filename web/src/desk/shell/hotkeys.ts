/** Single-key shortcuts: they stay out of the way of typing, of dialogs and of the keys that a control needs itself. */
import { onBeforeUnmount, onMounted } from 'vue'

export type Hotkeys = Record<string, (event: KeyboardEvent) => void>

function typing(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false
  if (target.isContentEditable) return true
  if (target instanceof HTMLInputElement) return !['range', 'checkbox', 'radio', 'button', 'submit'].includes(target.type)
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement
}

function dialogOpen(): boolean {
  return [...document.querySelectorAll<HTMLElement>('[role="dialog"][aria-modal="true"]')].some(
    (dialog) => dialog.offsetParent !== null || dialog.getClientRects().length > 0,
  )
}

/** Keys are named as `KeyboardEvent.key` names them; letters in lower case. */
export function useHotkeys(keys: Hotkeys): void {
  function onKey(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key
    const act = keys[name]
    if (!act || typing(event.target) || dialogOpen()) return
    // Space and Enter belong to the button that has the focus.
    const onButton = event.target instanceof HTMLElement && event.target.closest('button, a, [role="button"], summary')
    if (onButton && (name === ' ' || name === 'Enter')) return
    act(event)
  }
  onMounted(() => window.addEventListener('keydown', onKey))
  onBeforeUnmount(() => window.removeEventListener('keydown', onKey))
}
