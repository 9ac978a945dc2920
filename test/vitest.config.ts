import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const project = (name: string, testTimeout: number) => ({
  test: {
    name,
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
      project('unit', 30_000),
      project('conformance', 60_000),
      project('integration', 60_000),
      project('contracts', 120_000),
      project('gpu', 300_000),
      project('sim', 300_000),
      project('e2e', 300_000),
    ],
  },
})
