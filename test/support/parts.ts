import type { TestOptions } from 'vitest'
import { leftOut } from '../../deploy/setup/left-out.mjs'
import { findRedis } from '../../deploy/setup/redis.mjs'

declare module 'vitest' {
  interface TaskMeta {
    /** Why this test is left out on this machine; the closing report names it. */
    leftOut?: string
  }
}

/**
 * The options of tests that need a part of the machine: none where it is here; where it is `missing`, they are left out
 * by name (and fail to load with CI set).
 */
export const needs = (missing: string | undefined): TestOptions =>
  missing === undefined ? {} : { skip: true, meta: { leftOut: leftOut(missing) } }

/** For tests that start a real Redis. */
export const needsRedis = async (): Promise<TestOptions> => needs((await findRedis()).missing)
