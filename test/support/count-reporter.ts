import type { Reporter, TestCase, TestModule } from 'vitest/node'

/** What is left out for one reason: names of suites and tests, and how many tests they are. */
interface LeftOut {
  readonly names: Set<string>
  tests: number
}

/**
 * Prints the closing line `N passed, N failed` after Vitest's own summary; where tests were skipped, `, N skipped`
 * follows, and before it stands by name what this machine has no part for.
 */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0
    let failed = unhandled.length
    let skipped = 0
    const leftOut = new Map<string, LeftOut>()
    for (const module of modules) {
      if (module.errors().length > 0) failed += 1
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === 'passed') passed += 1
        else if (state === 'failed') failed += 1
        else {
          skipped += 1
          const reason = test.meta().leftOut
          if (reason !== undefined) note(leftOut, reason, test)
        }
      }
    }
    for (const [reason, { names, tests }] of leftOut) {
      console.log(`Left out, because ${reason} (${tests} ${tests === 1 ? 'test' : 'tests'}):`)
      for (const name of names) console.log(`  ${name}`)
    }
    console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  }
}

function note(leftOut: Map<string, LeftOut>, reason: string, test: TestCase): void {
  const entry = leftOut.get(reason) ?? { names: new Set(), tests: 0 }
  leftOut.set(reason, entry)
  entry.tests += 1
  entry.names.add(`${test.module.relativeModuleId}: ${outermost(test).name}`)
}

/** The test, or the outermost suite around it that is left out as a whole. */
function outermost(test: TestCase): { readonly name: string } {
  let found: { readonly name: string } = test
  for (let at = test.parent; at.type === 'suite'; at = at.parent) {
    if (at.meta().leftOut === undefined) break
    found = at
  }
  return found
}
