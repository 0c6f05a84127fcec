import { createApp, h } from 'vue'

createApp({ render: () => h('main', { lang: 'zh-CN' }, '指挥席') }).mount('#app')
