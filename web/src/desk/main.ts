import { createApp } from 'vue'
import 'element-plus/dist/index.css'
import 'element-plus/theme-chalk/dark/css-vars.css'
import './styles/tokens.css'
import './styles/base.css'
import { createTranslations } from '@/shared/i18n'
import App from './App.vue'
import { loadInstallation } from './client'
import { keepFeed } from './live/current'
import en from './locales/en'
import zhCN from './locales/zh-CN'
import { router } from './router'

const translations = createTranslations({ 'zh-CN': zhCN, en })
// After an update of the server the pieces that this page would still fetch are gone: the new page has them.
addEventListener('vite:preloadError', (event) => {
  const last = Number(sessionStorage.getItem('xungeng.desk.reloaded') ?? 0)
  // Once a minute at most: where a piece is missing for good, a page in a circle would be worse than an error.
  if (Date.now() - last < 60_000) return
  sessionStorage.setItem('xungeng.desk.reloaded', String(Date.now()))
  event.preventDefault()
  location.reload()
})
void loadInstallation()
keepFeed()
createApp(App).use(translations).use(router).mount('#app')
