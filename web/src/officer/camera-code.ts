/** Finds a QR code in what the camera shows: by the browser where it can, otherwise by a decoder that comes along. */

interface Detector {
  detect(source: HTMLVideoElement): Promise<{ rawValue: string }[]>
}
interface Detectors {
  new (options: { formats: string[] }): Detector
  getSupportedFormats(): Promise<string[]>
}
export type Finder = (video: HTMLVideoElement) => Promise<string | null>

/** A frame is made no larger than this: the decoder's time grows with it, and a label fills much of the picture. */
const LONGEST_PX = 960

export async function codeFinder(): Promise<Finder> {
  const native = (globalThis as { BarcodeDetector?: Detectors }).BarcodeDetector
  if (native) {
    try {
      if ((await native.getSupportedFormats()).includes('qr_code')) {
        const detector = new native({ formats: ['qr_code'] })
        return async (video) => (await detector.detect(video))[0]?.rawValue ?? null
      }
    } catch {
      // Some phones have the name and nothing behind it.
    }
  }
  return await bundledFinder()
}

async function bundledFinder(): Promise<Finder> {
  const { decodeQR } = await import('qr/decode.js')
  const canvas = document.createElement('canvas')
  const drawing = canvas.getContext('2d', { willReadFrequently: true })
  return async (video) => {
    const { videoWidth, videoHeight } = video
    if (!drawing || !videoWidth || !videoHeight) return null
    const scale = Math.min(1, LONGEST_PX / Math.max(videoWidth, videoHeight))
    canvas.width = Math.round(videoWidth * scale)
    canvas.height = Math.round(videoHeight * scale)
    drawing.drawImage(video, 0, 0, canvas.width, canvas.height)
    try {
      return decodeQR(drawing.getImageData(0, 0, canvas.width, canvas.height))
    } catch {
      // There is none in this frame.
      return null
    }
  }
}
