import { createApp } from 'vue'
import 'element-plus/dist/index.css'
import 'element-plus/theme-chalk/dark/css-vars.css'
import './styles/tokens.css'
import './styles/base.css'
import { createTranslations } from '@/shared/i18n'
import { fetchNewPage } from '@/shared/new-page'
import App from './App.vue'
import { hearWorker } from '@/shared/notices/arrival'
import { loadInstallation, notices, push } from './client'
import { keepFeed } from './live/current'
import en from './locales/en'
import zhCN from './locales/zh-CN'
import { router } from './router'

const translations = createTranslations({ 'zh-CN': zhCN, en })
addEventListener('vite:preloadError', (event) => {
  if (fetchNewPage()) event.preventDefault()
})
void loadInstallation()
keepFeed()
// It shows what is pushed and keeps no files: the desk is always the newest.
if (import.meta.env.PROD) void navigator.serviceWorker?.register('/desk/sw.js', { scope: '/desk/' }).catch(() => undefined)
hearWorker(router, notices, push)
createApp(App).use(translations).use(router).mount('#app')
