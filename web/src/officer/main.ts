import { setToastDefaultOptions } from 'vant'
import { createApp } from 'vue'
import 'vant/lib/index.css'
import '@/shared/phone/phone.css'
import { createTranslations } from '@/shared/i18n'
import { loadInstallation } from '@/shared/installation'
import { hearWorker } from '@/shared/notices/arrival'
import { pressByKey } from '@/shared/phone/keys'
import { registerServiceWorker } from '@/shared/phone/pwa'
import { dress } from '@/shared/phone/theme'
import App from './App.vue'
import { notices, push } from './client'
import en from './locales/en'
import zhCN from './locales/zh-CN'
import { router } from './router'

dress('officer')
pressByKey()
// Over the head of a page, where nothing is filled in or pressed.
setToastDefaultOptions({ position: 'top' })
registerServiceWorker('officer')
hearWorker(router, notices, push)
void loadInstallation()
createApp(App).use(createTranslations({ 'zh-CN': zhCN, en })).use(router).mount('#app')
