/**
 * Puts a finished build where the server reads it. A build takes a while, and pages that people have open go on fetching
 * pieces meanwhile: they find the old build or the new one, and never half of one.
 */
import { existsSync, renameSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const [fresh, served, old] = ['dist.new', 'dist', 'dist.old'].map((name) => fileURLToPath(new URL(`../${name}`, import.meta.url)))
rmSync(old, { recursive: true, force: true })
if (existsSync(served)) renameSync(served, old)
renameSync(fresh, served)
rmSync(old, { recursive: true, force: true })
