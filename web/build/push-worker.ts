/** Builds the script that shows pushed messages: one file without imports, as service workers of every browser take it. */
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'vite'

const ENTRY = fileURLToPath(new URL('../src/shared/notices/worker.ts', import.meta.url))

async function script(): Promise<string> {
  const built = await build({
    configFile: false,
    logLevel: 'warn',
    build: {
      write: false,
      target: 'es2022',
      lib: { entry: ENTRY, formats: ['iife'], name: 'xungengPush', fileName: 'push' },
    },
  })
  const [output] = Array.isArray(built) ? built : [built]
  if (!output || !('output' in output)) throw new Error('The push worker was not built.')
  return output.output[0].code
}

/** `files` are where it stands in the build; at the desk it is the whole worker. */
export function pushWorker(files: readonly string[]): Plugin {
  return {
    name: 'xungeng-push-worker',
    apply: 'build',
    async generateBundle() {
      const source = await script()
      for (const fileName of files) this.emitFile({ type: 'asset', fileName, source })
    },
  }
}
