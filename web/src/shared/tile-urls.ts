/** How providers of raster tiles write their addresses. */

/** 天地图 serves the names of its maps as a layer of their own, which is laid over everything else; null for others. */
export function namesOver(url: string): string | null {
  if (!/\.tianditu\.(gov\.cn|com)\//.test(url)) return null
  const layers: Record<string, string> = { vec: 'cva', img: 'cia', ter: 'cta' }
  const found = /\/(vec|img|ter)_([wc])\/wmts/.exec(url)
  if (!found) return null
  const names = layers[found[1]!]!
  return url.replace(found[0], `/${names}_${found[2]}/wmts`).replace(/([?&]LAYER=)(vec|img|ter)\b/i, `$1${names}`)
}

/** Providers write `{s}` for numbered hosts; MapLibre wants them spelt out. `a-d` and `0-7` are the usual ranges. */
export function tileUrls(template: string): string[] {
  const range = /\{(\w)-(\w)\}/.exec(template)
  if (range) {
    const [whole, from, to] = range as unknown as [string, string, string]
    const urls: string[] = []
    for (let code = from.charCodeAt(0); code <= to.charCodeAt(0); code += 1) {
      urls.push(template.replace(whole, String.fromCharCode(code)))
    }
    return urls
  }
  if (template.includes('{s}')) return ['a', 'b', 'c'].map((host) => template.replace('{s}', host))
  return [template]
}
