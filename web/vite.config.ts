import { fileURLToPath, URL } from 'node:url'
import vue from '@vitejs/plugin-vue'
import type { Plugin } from 'vite'
import { configDefaults, defineConfig } from 'vitest/config'

const CLIENTS = ['desk', 'officer', 'resident'] as const

/** The development server answers deep links as the API server does: each client's own page. */
function historyFallback(): Plugin {
  return {
    name: 'xungeng-history-fallback',
    configureServer(server) {
      server.middlewares.use((request, _response, next) => {
        const path = (request.url ?? '').split('?')[0] ?? ''
        const client = CLIENTS.find((name) => path === `/${name}` || path.startsWith(`/${name}/`))
        if (client && !/\.\w+$/.test(path)) request.url = `/${client}/index.html`
        next()
      })
    },
  }
}

const apiServer = process.env.XUNGENG_API ?? 'http://127.0.0.1:8000'

export default defineConfig({
  plugins: [vue(), historyFallback()],
  appType: 'mpa',
  resolve: { alias: { '@': fileURLToPath(new URL('./src', import.meta.url)) } },
  define: {
    __VUE_OPTIONS_API__: 'true',
    __VUE_PROD_DEVTOOLS__: 'false',
    __VUE_I18N_FULL_INSTALL__: 'false',
    __VUE_I18N_LEGACY_API__: 'false',
    __INTLIFY_PROD_DEVTOOLS__: 'false',
  },
  server: {
    proxy: {
      '/api': apiServer,
      '/healthz': apiServer,
      '/socket.io': { target: apiServer, ws: true },
    },
  },
  worker: { format: 'es' },
  build: {
    outDir: 'dist',
    emptyOutDir: true,
    target: 'es2022',
    manifest: true,
    // The size warning guards the phone clients; the map library and the charts of the desk are larger by nature.
    chunkSizeWarningLimit: 1500,
    rolldownOptions: {
      input: {
        landing: fileURLToPath(new URL('./index.html', import.meta.url)),
        desk: fileURLToPath(new URL('./desk/index.html', import.meta.url)),
        officer: fileURLToPath(new URL('./officer/index.html', import.meta.url)),
        resident: fileURLToPath(new URL('./resident/index.html', import.meta.url)),
      },
    },
  },
  test: {
    environment: 'happy-dom',
    include: ['tests/**/*.test.ts'],
    exclude: [...configDefaults.exclude],
    restoreMocks: true,
  },
})
