/** Officers move smoothly from fix to fix, without being shown anywhere between fixes that lie far apart. */

export interface Glide {
  fromX: number
  fromY: number
  toX: number
  toY: number
  startMs: number
  durationMs: number
}

const LONGEST_MS = 5_000
/** Over a longer silence, or a longer jump, nobody knows the way between: the marker is set, not moved. */
const LONGEST_INTERVAL_S = 90
const LONGEST_JUMP_M = 600

/**
 * The movement towards a new fix, from where the marker is now.
 *
 * It takes about as long as the time between the fixes, so that a phone reporting every few seconds moves without
 * stopping; it is cut at five seconds, so that a marker is never far behind what is known.
 */
export function glideTo(
  now: { x: number; y: number },
  to: { x: number; y: number },
  startMs: number,
  intervalS: number,
  jumpM: number,
  smooth: boolean,
): Glide {
  const still = !smooth || intervalS <= 0 || intervalS > LONGEST_INTERVAL_S || jumpM > LONGEST_JUMP_M
  return {
    fromX: still ? to.x : now.x,
    fromY: still ? to.y : now.y,
    toX: to.x,
    toY: to.y,
    startMs,
    durationMs: still ? 0 : Math.min(LONGEST_MS, intervalS * 1000),
  }
}

export function at(glide: Glide, nowMs: number): { x: number; y: number } {
  if (glide.durationMs <= 0) return { x: glide.toX, y: glide.toY }
  const part = Math.min(1, Math.max(0, (nowMs - glide.startMs) / glide.durationMs))
  return { x: glide.fromX + (glide.toX - glide.fromX) * part, y: glide.fromY + (glide.toY - glide.fromY) * part }
}

export function isDone(glide: Glide, nowMs: number): boolean {
  return nowMs >= glide.startMs + glide.durationMs
}
