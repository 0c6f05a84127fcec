/** The start page: which of the three clients. It is small on purpose and carries no framework. */
import type { Installation, Locale } from '@/shared/types'

const KEPT_AT = 'xungeng.locale'
const INSECURE: Record<Locale, string> = {
  'zh-CN': '当前为非加密连接（HTTP）：手机浏览器会关闭定位等功能。手机请使用 HTTPS 地址。',
  en: 'This connection is not encrypted (HTTP): phones switch off location and more. Use the HTTPS address on phones.',
}
let installation: Installation | null = null

function initial(): Locale {
  try {
    const kept = localStorage.getItem(KEPT_AT)
    if (kept === 'zh-CN' || kept === 'en') return kept
  } catch {
    // A browser without storage: by its own languages.
  }
  const first = navigator.languages.find((language) => /^(zh|en)\b/i.test(language))
  return first && /^en/i.test(first) ? 'en' : 'zh-CN'
}

function show(locale: Locale): void {
  const key = locale === 'en' ? 'en' : 'zh'
  document.documentElement.lang = locale
  for (const element of document.querySelectorAll<HTMLElement>(`[data-${key}]`)) {
    element.textContent = element.dataset[key] ?? ''
  }
  for (const element of document.querySelectorAll<HTMLElement>(`[data-${key}-label]`)) {
    element.setAttribute('aria-label', element.dataset[`${key}Label`] ?? '')
  }
  const button = document.getElementById('language') as HTMLButtonElement
  button.textContent = locale === 'en' ? '中文' : 'English'
  button.lang = locale === 'en' ? 'zh-CN' : 'en'
  const town = document.getElementById('town') as HTMLElement
  town.textContent = installation?.town?.name[locale] ?? ''
  town.hidden = !town.textContent
  const insecure = document.getElementById('insecure') as HTMLElement
  insecure.hidden = !installation?.off.length
  insecure.textContent = INSECURE[locale]
  const version = document.getElementById('version') as HTMLElement
  version.textContent = installation ? installation.version : ''
}

let locale = initial()
show(locale)
document.getElementById('language')?.addEventListener('click', () => {
  locale = locale === 'en' ? 'zh-CN' : 'en'
  try {
    localStorage.setItem(KEPT_AT, locale)
  } catch {
    // Then the choice lasts as long as the page.
  }
  show(locale)
})
fetch('/api/v1/public/installation')
  .then((answer) => (answer.ok ? (answer.json() as Promise<Installation>) : null))
  .then((found) => {
    installation = found
    show(locale)
  })
  .catch(() => undefined)
