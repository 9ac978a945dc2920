import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

/**
 * With `isolate: false` the files of a worker share their modules, and with them one compiled aos. That is for files that
 * leave nothing behind; aos in the test's own process does (it replaces `Date.now`), so it is not for files that also
 * need the clock.
 */
const project = (name: string, testTimeout: number, { isolate = true } = {}) => ({
  test: {
    name,
    isolate,
    root: import.meta.dirname,
    include: [`${name}/**/*.test.ts`],
    testTimeout,
    hookTimeout: testTimeout,
    pool: 'forks' as const,
  },
})

export default defineConfig({
  test: {
    reporters: ['default', fileURLToPath(new URL('./support/count-reporter.ts', import.meta.url))],
    maxWorkers: 2,
    projects: [
      project('unit', 30_000, { isolate: false }),
      project('conformance', 60_000),
      project('integration', 60_000),
      project('contracts', 120_000, { isolate: false }),
      project('gpu', 300_000),
      project('sim', 300_000),
      project('e2e', 300_000),
    ],
  },
})
