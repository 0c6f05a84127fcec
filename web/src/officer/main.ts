import { createApp } from 'vue'
import 'vant/lib/index.css'
import '@/shared/phone/phone.css'
import { createTranslations } from '@/shared/i18n'
import { loadInstallation } from '@/shared/installation'
import { dress } from '@/shared/phone/theme'
import App from './App.vue'
import en from './locales/en'
import zhCN from './locales/zh-CN'
import { registerServiceWorker } from './pwa'
import { router } from './router'

dress('officer')
registerServiceWorker()
void loadInstallation()
createApp(App).use(createTranslations({ 'zh-CN': zhCN, en })).use(router).mount('#app')
