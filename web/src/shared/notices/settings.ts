/** What one wants to be told by: read, changed, and put back as the server has it. */
import { computed, ref, shallowRef } from 'vue'
import type { Api } from '../api'
import type { Schemas } from '../types'
import type { Client } from './pages'

export type Choice = Schemas['OfficerNoticeChoice']
/** A key for vue-i18n, where dots lead into objects. */
export const kindKey = (kind: string) => `notices.kinds.${kind.replace('.', '_')}`

export function createNoticeSettings(api: Api, client: Client) {
  const path = `/api/v1/${client}/notice-settings`
  const choice = shallowRef<Choice | null>(null)
  const busy = ref(false)
  const failure = ref<unknown>(null)

  async function attempt(work: () => Promise<Choice>): Promise<boolean> {
    busy.value = true
    failure.value = null
    try {
      choice.value = await work()
      return true
    } catch (error) {
      failure.value = error
      return false
    } finally {
      busy.value = false
    }
  }
  const read = () => attempt(() => api.get<Choice>(path))
  function put(changed: Partial<Pick<Choice, 'channels' | 'quiet_from' | 'quiet_until'>>): Promise<boolean> {
    const { channels, quiet_from, quiet_until } = { ...choice.value!, ...changed }
    return attempt(() => api.put<Choice>(path, { channels, quiet_from, quiet_until }))
  }

  /** The channels that bring a kind now; all where nothing was chosen. */
  function channelsOf(kind: string): string[] {
    const { channels, available } = choice.value!
    const chosen: readonly string[] | undefined = channels[kind]
    return chosen ? available.filter((one) => chosen.includes(one)) : available
  }
  return {
    choice,
    busy,
    failure,
    read,
    channelsOf,
    isFixed: (kind: string) => choice.value!.fixed.includes(kind),
    rows: computed(() => choice.value?.kinds ?? []),
    setChannels(kind: string, wanted: readonly string[]): Promise<boolean> {
      const { channels, available } = choice.value!
      const next: Choice['channels'] = { ...channels, [kind]: available.filter((one) => wanted.includes(one)) as Choice['channels'][string] }
      // All of them is no choice: a channel that is set up later is one of them.
      if (next[kind]!.length === available.length) delete next[kind]
      return put({ channels: next })
    },
    setQuiet: (from: string | null, until: string | null) => put({ quiet_from: from, quiet_until: until }),
  }
}
