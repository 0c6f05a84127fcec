/** What holds up the photos of this phone, in words. */
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { online } from '@/shared/api'
import { photos } from './client'

export function usePhotoState() {
  const { t } = useI18n()
  /** Something is wrong, and not only slow. */
  const bad = computed(() => !online.value || photos.trouble.value !== null)
  const text = computed(() => {
    if (photos.trouble.value === 'storage') return t('photos.storage')
    if (!photos.unsent.value.length) return t('photos.checking')
    if (photos.paused.value) return t('photos.paused')
    if (photos.trouble.value === 'signed_out') return t('uploads.signedOut')
    if (!online.value || photos.trouble.value === 'offline') return t('uploads.offline')
    return t(photos.trouble.value === 'busy' ? 'uploads.busy' : 'uploads.sending')
  })
  return { bad, text }
}
