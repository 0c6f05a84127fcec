/** Languages: zh-CN first, English complete. The choice is kept on the device and shared by the three clients. */
import { createI18n } from 'vue-i18n'
import { computed, ref } from 'vue'
import type { Locale, Named } from './types'
import en from './locales/en'
import zhCN from './locales/zh-CN'

export const LOCALES: { code: Locale; name: string }[] = [
  { code: 'zh-CN', name: '简体中文' },
  { code: 'en', name: 'English' },
]
const KEPT_AT = 'xungeng.locale'

export function readLocale(
  kept: string | null = safeGet(KEPT_AT),
  preferred: readonly string[] = globalThis.navigator?.languages ?? [],
): Locale {
  if (kept === 'zh-CN' || kept === 'en') return kept
  for (const language of preferred) {
    if (/^zh\b/i.test(language)) return 'zh-CN'
    if (/^en\b/i.test(language)) return 'en'
  }
  return 'zh-CN'
}

function safeGet(key: string): string | null {
  try {
    return globalThis.localStorage?.getItem(key) ?? null
  } catch {
    return null
  }
}

const current = ref<Locale>(readLocale())
/** The language of the screens, for code outside components. */
export const locale = computed(() => current.value)
const listeners: ((chosen: Locale) => void)[] = []

/** The text of something that the API names in every language. */
export function named(text: Named | null | undefined, chosen: Locale = current.value): string {
  if (!text) return ''
  return text[chosen] || text['zh-CN'] || text.en || ''
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Messages = Record<string, any>

/**
 * The vue-i18n plugin of one client: the shared texts and its own ones, under the keys of its own files.
 *
 * Both files must have the same keys; `tests/i18n.test.ts` holds every pair in `src/*\/locales` to it.
 */
export function createTranslations(own: Record<Locale, Messages>) {
  const i18n = createI18n({
    legacy: false,
    locale: current.value,
    fallbackLocale: 'zh-CN',
    messages: { 'zh-CN': { ...zhCN, ...own['zh-CN'] }, en: { ...en, ...own.en } },
    missingWarn: true,
    fallbackWarn: true,
  })
  onLocale((chosen) => {
    i18n.global.locale.value = chosen
  })
  return i18n
}

/** Called at once and at every change; for component libraries that have a language of their own. */
export function onLocale(listener: (chosen: Locale) => void): void {
  listeners.push(listener)
  listener(current.value)
}

export function setLocale(chosen: Locale): void {
  current.value = chosen
  try {
    localStorage.setItem(KEPT_AT, chosen)
  } catch {
    // A browser without storage keeps the choice for this page alone.
  }
  for (const listener of listeners) listener(chosen)
}

onLocale((chosen) => {
  if (globalThis.document) document.documentElement.lang = chosen
})
