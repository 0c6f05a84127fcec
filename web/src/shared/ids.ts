import { v7 } from 'uuid'

/**
 * A new UUIDv7. Unlike crypto.randomUUID it also works on a page served over plain HTTP,
 * where browsers take that function away.
 */
export function newId(): string {
  return v7()
}
