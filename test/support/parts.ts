import { errorCode } from '@apus/shared/kit'
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

/** For tests that run llama.cpp, which has no build of its processor engine for some machines. */
export async function needsLlamaCpp(): Promise<TestOptions> {
  const { createLlamaCppEngine } = await import('../../node/src/engine/llama-cpp/llama-cpp-engine.ts')
  try {
    await (await createLlamaCppEngine()).close()
    return {}
  } catch (error) {
    if (errorCode(error) !== 'engine-unavailable') throw error
    return needs('llama.cpp has no build for this machine')
  }
}
