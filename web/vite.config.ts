import { fileURLToPath, URL } from 'node:url'
import vue from '@vitejs/plugin-vue'
import type { Plugin, ResolvedConfig } from 'vite'
import { VitePWA, type ManifestOptions } from 'vite-plugin-pwa'
import { configDefaults, defineConfig } from 'vitest/config'
import { filesOf } from './build/precache.ts'
import { pushWorker } from './build/push-worker.ts'

const CLIENTS = ['desk', 'officer', 'resident'] as const
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

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

/** Vant carries its icon font inside and names a server outside as the second source: nothing may leave the town. */
function withoutForeignFonts(): Plugin {
  return {
    name: 'xungeng-without-foreign-fonts',
    enforce: 'pre',
    transform(code, id) {
      if (!id.includes('/vant/') || !id.split('?')[0]!.endsWith('.css')) return null
      return { code: code.replace(/,\s*url\((?:https?:)?\/\/[^)]*\)\s*format\([^)]*\)/g, ''), map: null }
    },
  }
}

/** An installable phone client with a service worker of its own, which knows the files of that client alone. */
function phoneApp(client: 'officer' | 'resident', manifest: Partial<ManifestOptions>): Plugin[] {
  let dist = here('./dist')
  const ids: Plugin = {
    name: `xungeng-dist-of-${client}`,
    configResolved(config: ResolvedConfig) {
      dist = config.build.outDir.startsWith('/') ? config.build.outDir : here(config.build.outDir)
    },
  }
  return [
    ids,
    ...VitePWA({
      filename: `${client}/sw.js`,
      scope: `/${client}/`,
      base: '/',
      injectRegister: false,
      registerType: 'prompt',
      manifest: false,
      workbox: {
        globPatterns: ['assets/**/*.{js,css,woff2,svg,png}', `${client}/index.html`, `icons/${client}*`],
        maximumFileSizeToCacheInBytes: 8 * 1024 * 1024,
        manifestTransforms: [
          (entries) => {
            const mine = filesOf(client, dist)
            const kept = entries.filter(({ url }) => mine.has(url) || url.startsWith('icons/'))
            // The worker lives in a folder and the files beside it: addresses from the root are the same for both.
            return { manifest: kept.map((entry) => ({ ...entry, url: `/${entry.url}` })), warnings: [] }
          },
        ],
        navigateFallback: `/${client}/index.html`,
        navigateFallbackAllowlist: [new RegExp(`^/${client}/`)],
        inlineWorkboxRuntime: true,
        // Shows what is pushed; a browser looks for a newer one whenever it looks for a newer worker.
        importScripts: ['/push.js'],
        sourcemap: false,
        cleanupOutdatedCaches: true,
        clientsClaim: true,
        skipWaiting: false,
        cacheId: `xungeng-${client}`,
        runtimeCaching: [
          {
            // The ground of the map, so that the officer's own streets are there without a network.
            urlPattern: new RegExp(`/api/v1/${client}/tiles/`),
            handler: 'StaleWhileRevalidate',
            options: { cacheName: `xungeng-${client}-tiles`, expiration: { maxEntries: 600, maxAgeSeconds: 30 * 86_400 } },
          },
        ],
      },
    }),
    {
      name: `xungeng-manifest-of-${client}`,
      generateBundle() {
        this.emitFile({
          type: 'asset',
          fileName: `${client}/manifest.webmanifest`,
          source: JSON.stringify({
            id: `/${client}/`,
            start_url: `/${client}/`,
            scope: `/${client}/`,
            display: 'standalone',
            lang: 'zh-CN',
            icons: [
              { src: `/icons/${client}-192.png`, sizes: '192x192', type: 'image/png' },
              { src: `/icons/${client}-512.png`, sizes: '512x512', type: 'image/png' },
              { src: `/icons/${client}-maskable.png`, sizes: '512x512', type: 'image/png', purpose: 'maskable' },
            ],
            ...manifest,
          }),
        })
      },
    },
  ]
}

const apiServer = process.env.XUNGENG_API ?? 'http://127.0.0.1:8000'

export default defineConfig({
  plugins: [
    vue(),
    historyFallback(),
    withoutForeignFonts(),
    pushWorker(['push.js', 'desk/sw.js']),
    phoneApp('officer', {
      name: '巡更 · 巡逻',
      short_name: '巡逻',
      description: '巡逻队员客户端',
      theme_color: '#07503a',
      background_color: '#f4f6f4',
    }),
    phoneApp('resident', {
      name: '巡更 · 居民',
      short_name: '居民',
      description: '居民客户端',
      theme_color: '#06405f',
      background_color: '#f4f6f4',
    }),
  ],
  appType: 'mpa',
  resolve: { alias: { '@': here('./src') } },
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
    // The size warning guards the phone clients; the map library, the charts and the API reference are larger by nature.
    chunkSizeWarningLimit: 1600,
    rolldownOptions: {
      input: {
        landing: here('./index.html'),
        desk: here('./desk/index.html'),
        officer: here('./officer/index.html'),
        resident: here('./resident/index.html'),
        'api-docs': here('./api-docs/index.html'),
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
