/** Light by day, dark by night: what the phone says, unless its owner has chosen. */
import { computed, ref, watchEffect } from 'vue'
import { Locale as Vant } from 'vant'
import enUS from 'vant/es/locale/lang/en-US'
import zhCN from 'vant/es/locale/lang/zh-CN'
import { onLocale } from '../i18n'

export type Look = 'system' | 'light' | 'dark'
const KEPT_AT = 'xungeng.look'

function read(): Look {
  try {
    const kept = localStorage.getItem(KEPT_AT)
    return kept === 'light' || kept === 'dark' ? kept : 'system'
  } catch {
    return 'system'
  }
}

export const look = ref<Look>(read())
const query = globalThis.matchMedia?.('(prefers-color-scheme: dark)')
const systemDark = ref(query?.matches ?? false)
query?.addEventListener?.('change', (event) => (systemDark.value = event.matches))
export const dark = computed(() => (look.value === 'system' ? systemDark.value : look.value === 'dark'))

export function setLook(chosen: Look): void {
  look.value = chosen
  try {
    localStorage.setItem(KEPT_AT, chosen)
  } catch {
    // A browser without storage keeps the choice for this page alone.
  }
}

/** Called once by each phone client. */
export function dress(client: 'officer' | 'resident'): void {
  document.documentElement.dataset.client = client
  watchEffect(() => {
    document.documentElement.dataset.theme = dark.value ? 'dark' : 'light'
  })
  onLocale((chosen) => Vant.use(chosen, chosen === 'en' ? enUS : zhCN))
}
