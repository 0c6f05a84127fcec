/** Texts of Element Plus in the language of the screens. */
import { computed } from 'vue'
import elementEn from 'element-plus/es/locale/lang/en'
import elementZh from 'element-plus/es/locale/lang/zh-cn'
import { locale } from '@/shared/i18n'

export const elementLocale = computed(() => (locale.value === 'en' ? elementEn : elementZh))
