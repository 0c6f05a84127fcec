/** The officer's own photos after they have left the phone: what the server says of them, and one look at each picture. */
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { createOwnPhotos, type OwnPhotos } from '@/officer/own-photos'
import { Offline, Problem, type Api } from '@/shared/api'
import type { Change } from '@/shared/changes'
import type { OfficerEvidence } from '@/shared/types'

type Said = Pick<OfficerEvidence, 'state' | 'reason' | 'has_preview'>
const sealed: Said = { state: 'sealed', reason: null, has_preview: true }

/** A server that knows some photos, and counts how often it is asked and whose pixels are looked at. */
class Server {
  down = false
  known = new Map<string, Said>()
  asked = 0
  looks: string[] = []
  api = {
    get: async (path: string) => {
      this.asked += 1
      if (this.down) throw new Offline()
      const said = this.known.get(path.split('/').at(-1)!)
      if (!said) throw new Problem({ status: 404, code: 'not_found' })
      return said
    },
    response: async (_method: string, path: string) => {
      this.looks.push(path)
      if (this.down) throw new Offline()
      return new Response('pixels')
    },
  } as unknown as Api
}

let server: Server
let own: OwnPhotos
let changed: (change: Change | null) => void
beforeEach(() => {
  server = new Server()
  own = createOwnPhotos(server.api, { onChange: (listener) => void (changed = listener) })
})
const change = (id: string, kind = 'evidence') => ({ kind, id, version: 2, action: 'seal' })

describe('own photos', () => {
  it('says that a photo is sealed, and fetches its picture once however often it is looked at', async () => {
    server.known.set('a', sealed)
    await own.look('a')
    await own.look('a')
    changed(null)
    expect(own.found.get('a')).toEqual({ state: 'sealed', reason: null })
    expect(own.previews.get('a')).toMatch(/^blob:/)
    expect(server.looks).toEqual(['/api/v1/officer/evidence/a/preview'])
    expect(server.asked).toBe(1)
  })

  it('looks at no picture of what is not sealed, and says why a photo was not taken', async () => {
    server.known.set('a', { state: 'received', reason: null, has_preview: false })
    server.known.set('b', { state: 'rejected', reason: 'not_an_image', has_preview: false })
    await Promise.all([own.look('a'), own.look('b')])
    expect(own.found.get('a')!.state).toBe('received')
    expect(own.found.get('b')).toEqual({ state: 'rejected', reason: 'not_an_image' })
    expect(server.looks).toEqual([])
  })

  it('says that nothing has come of what the server does not know, and nothing of what nobody could ask', async () => {
    await own.look('a')
    server.down = true
    await own.look('b')
    expect(own.found.get('a')).toEqual({ state: 'expected', reason: null })
    expect(own.found.has('b')).toBe(false)
  })

  it('asks again at the word of a change, of what it has shown and is not over', async () => {
    server.known.set('a', { state: 'received', reason: null, has_preview: false })
    await own.look('a')
    server.known.set('a', sealed)
    changed(change('a', 'task'))
    changed(change('other'))
    expect(server.asked).toBe(1)
    changed(change('a'))
    await vi.waitFor(() => expect(own.previews.has('a')).toBe(true))
    changed(change('a'))
    expect(server.asked).toBe(2)
  })

  it('fetches a picture that did not come with the next look', async () => {
    server.known.set('a', sealed)
    const { response } = server.api
    server.api.response = async () => {
      throw new Offline()
    }
    await own.look('a')
    expect(own.previews.has('a')).toBe(false)
    server.api.response = response
    await own.look('a')
    expect(own.previews.has('a')).toBe(true)
  })

  it('forgets all of it at the sign-out, also what is still on its way', async () => {
    server.known.set('a', sealed)
    const looking = own.look('a')
    own.leave()
    await looking
    expect([own.found.size, own.previews.size]).toEqual([0, 0])
  })
})
