import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createSiren } from '@/desk/dispatch/siren'

function audio(state: 'running' | 'suspended') {
  const tones: number[] = []
  const node = { connect: () => node, gain: { setValueAtTime: vi.fn(), linearRampToValueAtTime: vi.fn() } }
  const context = {
    state,
    currentTime: 0,
    destination: {},
    createGain: () => node,
    createOscillator: () => {
      const frequency = { value: 0 }
      return { frequency, connect: () => node, start: () => tones.push(frequency.value), stop: vi.fn() }
    },
    resume: vi.fn(() => {
      context.state = 'running'
      return Promise.resolve()
    }),
  }
  return { context, tones }
}

describe('the siren', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('sounds two tones again and again until it is told to stop', () => {
    const { context, tones } = audio('running')
    const siren = createSiren(() => context as unknown as AudioContext, () => true)
    siren.sound(true)
    siren.sound(true)
    expect(tones).toEqual([880, 660])
    vi.advanceTimersByTime(2_300)
    expect(tones).toHaveLength(6)
    siren.sound(false)
    vi.advanceTimersByTime(5_000)
    expect(tones).toHaveLength(6)
    expect(siren.blocked.value).toBe(false)
  })

  it('makes nothing before the page was touched, says that it is blocked, and sounds with the first touch', async () => {
    const { context, tones } = audio('suspended')
    const make = vi.fn(() => context as unknown as AudioContext)
    const siren = createSiren(make, () => false)
    siren.sound(true)
    expect(make).not.toHaveBeenCalled()
    expect(siren.blocked.value).toBe(true)
    siren.unlock()
    await vi.advanceTimersByTimeAsync(1_200)
    expect(context.resume).toHaveBeenCalled()
    expect(siren.blocked.value).toBe(false)
    expect(tones.length).toBeGreaterThan(0)
  })
})
