/** The installation as every client needs it before anybody signs in; kept on the device so that an app starts offline. */
import { ref, shallowRef } from 'vue'
import { exchange } from './api'
import { setTownZone } from './time'
import type { Installation } from './types'

const KEPT_AT = 'xungeng.installation'

function kept(): Installation | null {
  try {
    return JSON.parse(localStorage.getItem(KEPT_AT) ?? 'null') as Installation | null
  } catch {
    return null
  }
}

export const installation = shallowRef<Installation | null>(kept())
export const installationFailed = ref(false)
if (installation.value?.town) setTownZone(installation.value.town.time_zone)

export async function loadInstallation(): Promise<void> {
  installationFailed.value = false
  try {
    const answer = await exchange('GET', '/api/v1/public/installation')
    const found = (await answer.json()) as Installation
    if (found.town) setTownZone(found.town.time_zone)
    installation.value = found
    try {
      localStorage.setItem(KEPT_AT, JSON.stringify(found))
    } catch {
      // Without storage it is asked for again next time.
    }
  } catch {
    installationFailed.value = installation.value === null
  }
}
