/** The tree of areas that a dispatcher may see, for the filter and for names. */
import type { Area } from '../types'

export interface AreaNode {
  value: string
  area: Area
  children: AreaNode[]
}

/** Roots are areas whose parent is not visible to this desk: a dispatcher of one community sees it as the top. */
export function areaTree(areas: readonly Area[]): AreaNode[] {
  const nodes = new Map(areas.map((area) => [area.id, { value: area.id, area, children: [] as AreaNode[] }]))
  const roots: AreaNode[] = []
  for (const node of nodes.values()) {
    const parent = node.area.parent_id ? nodes.get(node.area.parent_id) : undefined
    ;(parent ? parent.children : roots).push(node)
  }
  const order = (a: AreaNode, b: AreaNode) => a.area.code.localeCompare(b.area.code, 'zh-CN', { numeric: true })
  const sort = (list: AreaNode[]) => {
    list.sort(order)
    for (const node of list) sort(node.children)
  }
  sort(roots)
  return roots
}

/** The area and everything below it. */
export function withDescendants(areas: readonly Area[], id: string): Set<string> {
  const below = new Map<string, string[]>()
  for (const area of areas) {
    if (!area.parent_id) continue
    const siblings = below.get(area.parent_id)
    if (siblings) siblings.push(area.id)
    else below.set(area.parent_id, [area.id])
  }
  const found = new Set<string>()
  const open = [id]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (found.has(next)) continue
    found.add(next)
    open.push(...(below.get(next) ?? []))
  }
  return found
}
