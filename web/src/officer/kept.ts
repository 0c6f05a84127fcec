/** Lists that this phone remembers over a restart, each in an envelope with a version. */

/** Without storage, or when the phone's is full, the list is there again with the network. */
export function keepList(at: string, name: string, items: unknown[]): void {
  try {
    if (items.length) localStorage.setItem(at, JSON.stringify({ v: 1, [name]: items }))
    else localStorage.removeItem(at)
  } catch {
    // It is forgotten with the page.
  }
}

/** What was kept, or nothing where nothing was, where it cannot be read, or where a newer release wrote it. */
export function recallList<T>(at: string, name: string): T[] {
  try {
    const kept = JSON.parse(localStorage.getItem(at) ?? 'null') as Record<string, unknown> | null
    return kept?.v === 1 ? ((kept[name] ?? []) as T[]) : []
  } catch {
    return []
  }
}
