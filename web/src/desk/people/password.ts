/** A first password to be handed over on paper: no letters that are mistaken for each other, about 82 bits. */
const LETTERS = 'abcdefghjkmnpqrstuvwxyz23456789ABCDEFGHJKLMNPQRSTUVWXYZ'

export function randomPassword(groups = 4, length = 4): string {
  const limit = 256 - (256 % LETTERS.length)
  const letters: string[] = []
  while (letters.length < groups * length) {
    for (const byte of crypto.getRandomValues(new Uint8Array(32))) {
      // A byte past the last whole multiple would make the first letters likelier.
      if (byte < limit && letters.length < groups * length) letters.push(LETTERS[byte % LETTERS.length]!)
    }
  }
  return Array.from({ length: groups }, (_, group) => letters.slice(group * length, (group + 1) * length).join('')).join('-')
}
