import { createApp } from 'vue'
import 'vant/lib/index.css'
import '@/shared/phone/phone.css'
import { createTranslations } from '@/shared/i18n'
import { loadInstallation } from '@/shared/installation'
import { registerServiceWorker } from '@/shared/phone/pwa'
import { dress } from '@/shared/phone/theme'
import App from './App.vue'
import en from './locales/en'
import zhCN from './locales/zh-CN'
import { router } from './router'

dress('officer')
registerServiceWorker('officer')
void loadInstallation()
createApp(App).use(createTranslations({ 'zh-CN': zhCN, en })).use(router).mount('#app')
