import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node'

/**
 * Prints the closing line `N passed, N failed` after Vitest's own summary; where tests were skipped, `, N skipped`
 * follows, and before it stands by name what this machine has no part for.
 */
export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    let passed = 0
    let failed = unhandled.length
    let skipped = 0
    const leftOut = new Map<string, Map<string, number>>()
    for (const module of modules) {
      // A hook that throws skips its tests: nothing failed but the suite.
      for (const suite of [module, ...module.children.allSuites()]) if (suite.errors().length > 0) failed += 1
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === 'passed') passed += 1
        else if (state === 'failed') failed += 1
        else {
          skipped += 1
          note(leftOut, test)
        }
      }
    }
    for (const [reason, names] of leftOut) {
      console.log(`Left out, because ${reason}:`)
      for (const [name, tests] of names) console.log(`  ${name} (${tests} ${tests === 1 ? 'test' : 'tests'})`)
    }
    if (modules.length === 0) console.log('No test ran: no test file has that in its path.')
    console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  }
}

function note(leftOut: Map<string, Map<string, number>>, test: TestCase): void {
  const reason = test.meta().leftOut
  if (reason === undefined) return
  const names = leftOut.get(reason) ?? new Map<string, number>()
  leftOut.set(reason, names)
  const name = nameOf(wholeOf(test, reason))
  names.set(name, (names.get(name) ?? 0) + 1)
}

/** The largest thing around a test that is left out with it as a whole. */
function wholeOf(test: TestCase, reason: string): TestCase | TestSuite | TestModule {
  let whole: TestCase | TestSuite | TestModule = test
  while (whole.type !== 'module') {
    const { parent }: { readonly parent: TestSuite | TestModule } = whole
    if (![...parent.children.allTests()].every(other => other.meta().leftOut === reason)) break
    whole = parent
  }
  return whole
}

const nameOf = (part: TestCase | TestSuite | TestModule): string =>
  part.type === 'module' ? part.relativeModuleId : `${part.module.relativeModuleId}: ${part.fullName}`
