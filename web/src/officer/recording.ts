/**
 * A film or a piece of sound that is recorded here: hashed while it is recorded, so that it is sealed as it was taken
 * however long it is, and no phone has to hold all of it in memory at once to know its hash.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'

export type RecordingKind = 'video' | 'audio'
export interface Recorded {
  kind: RecordingKind
  blob: Blob
  sha256: string
  /** By the phone's clock. */
  startedAt: number
  /** A small picture of a film, where the browser could make one. */
  poster: Blob | null
}

/** What browsers write and the server takes in, the better ones first. */
const TYPES: Record<RecordingKind, string[]> = {
  video: ['video/webm;codecs=vp8,opus', 'video/webm', 'video/mp4'],
  audio: ['audio/webm;codecs=opus', 'audio/webm', 'audio/mp4'],
}
/** So often the recorder hands out what it has: that much is lost when the page dies, and hashed at once. */
const PIECE_MS = 1_000
const VIDEO_BPS = 1_500_000
const AUDIO_BPS = 64_000
/** A recording ends by itself: it has to go up over a phone's network, and is begun again by one tap. */
export const MOST_S = 10 * 60

/** The type in which this browser records, or null where it does not. */
export function typeFor(kind: RecordingKind, recorder: Pick<typeof MediaRecorder, 'isTypeSupported'> | undefined = globalThis.MediaRecorder): string | null {
  return TYPES[kind].find((type) => recorder?.isTypeSupported(type)) ?? null
}

/** Asks for the camera and the microphone, or for the microphone alone. */
export async function listen(kind: RecordingKind): Promise<MediaStream> {
  const video = { facingMode: 'environment', width: { ideal: 1280 }, height: { ideal: 720 } }
  return await navigator.mediaDevices.getUserMedia({ audio: true, video: kind === 'video' && video })
}

/** Records a stream until it is stopped, or until the stream itself ends. */
export class Recording {
  readonly startedAt: number
  /** Settles when all of it is here and hashed, whoever has ended it. */
  readonly done: Promise<Pick<Recorded, 'kind' | 'blob' | 'sha256' | 'startedAt'>>
  private readonly recorder: MediaRecorder

  constructor(stream: MediaStream, kind: RecordingKind, type: string, now: () => number = Date.now) {
    this.recorder = new MediaRecorder(stream, { mimeType: type, videoBitsPerSecond: VIDEO_BPS, audioBitsPerSecond: AUDIO_BPS })
    const pieces: Blob[] = []
    const hash = sha256.create()
    let hashing = Promise.resolve()
    this.done = new Promise((resolve, reject) => {
      this.recorder.addEventListener('dataavailable', ({ data }) => {
        if (!data.size) return
        pieces.push(data)
        hashing = hashing.then(async () => void hash.update(new Uint8Array(await data.arrayBuffer())))
        hashing.catch(reject)
      })
      this.recorder.addEventListener('error', () => reject(new Error('The recorder failed.')))
      this.recorder.addEventListener('stop', () => {
        hashing.then(() => resolve({ kind, blob: new Blob(pieces, { type }), sha256: bytesToHex(hash.digest()), startedAt: this.startedAt }), reject)
      })
    })
    this.startedAt = now()
    this.recorder.start(PIECE_MS)
  }

  stop(): void {
    if (this.recorder.state !== 'inactive') this.recorder.stop()
  }
}
