import { readFileSync, writeFileSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { AoEnvironment, AoMessage, AoResult } from '../ao-message.ts'
import { SerialLane } from '../serial-lane.ts'
import { PAGE_BYTES, type ProcessSnapshot, ResidentProcess, threadCpuMs } from './resident-process.ts'

export type ComputeRequest =
  | {
      readonly kind: 'load'
      readonly process: string
      readonly environment: AoEnvironment
      readonly snapshot?: string
    }
  | { readonly kind: 'evaluate'; readonly process: string; readonly message: AoMessage }
  | { readonly kind: 'dry-run'; readonly process: string; readonly message: AoMessage }
  | { readonly kind: 'snapshot'; readonly process: string; readonly file: string }
  | { readonly kind: 'unload'; readonly process: string }

export interface ComputeAnswer {
  readonly result?: AoResult
  /** Processor time that the request took. */
  readonly ms: number
  readonly failed?: string
}

/** Fast rather than small: a snapshot is mostly Lua heap and is rewritten often. */
const GZIP_LEVEL = 1

const module = new WebAssembly.Module(readFileSync((workerData as { module: string }).module))
const processes = new Map<string, ResidentProcess>()

function resident(id: string): ResidentProcess {
  const process = processes.get(id)
  if (!process) throw new Error(`process ${id} is not loaded`)
  return process
}

function writeSnapshot(file: string, { bytes, pages }: ProcessSnapshot): void {
  const index = Buffer.alloc(12 + 4 * pages.length)
  index.writeBigUInt64LE(BigInt(bytes), 0)
  index.writeUInt32LE(pages.length, 8)
  for (const [at, [page]] of pages.entries()) index.writeUInt32LE(page, 12 + 4 * at)
  const content = pages.map(([, page]) => page)
  writeFileSync(file, gzipSync(Buffer.concat([index, ...content]), { level: GZIP_LEVEL }), { flush: true })
}

function readSnapshot(file: string): ProcessSnapshot {
  const all = gunzipSync(readFileSync(file))
  const count = all.readUInt32LE(8)
  const first = 12 + 4 * count
  const pages = Array.from({ length: count }, (_, at) => {
    const start = first + at * PAGE_BYTES
    return [all.readUInt32LE(12 + 4 * at), all.subarray(start, start + PAGE_BYTES)] as const
  })
  return { bytes: Number(all.readBigUInt64LE(0)), pages }
}

async function perform(request: ComputeRequest): Promise<AoResult | undefined> {
  switch (request.kind) {
    case 'load': {
      const snapshot = request.snapshot === undefined ? undefined : readSnapshot(request.snapshot)
      processes.set(request.process, await ResidentProcess.start(module, request.environment, snapshot))
      return undefined
    }
    case 'evaluate':
      return resident(request.process).evaluate(request.message)
    case 'dry-run':
      return resident(request.process).dryRun(request.message)
    case 'snapshot':
      writeSnapshot(request.file, resident(request.process).snapshot())
      return undefined
    case 'unload':
      processes.delete(request.process)
      return undefined
  }
}

async function answerTo(request: ComputeRequest): Promise<ComputeAnswer> {
  const began = threadCpuMs()
  let answer: Omit<ComputeAnswer, 'ms'>
  try {
    const result = await perform(request)
    answer = result ? { result } : {}
  } catch (error) {
    answer = { failed: error instanceof Error ? error.message : String(error) }
  }
  return { ...answer, ms: threadCpuMs() - began }
}

const lane = new SerialLane()
parentPort?.on('message', (request: ComputeRequest) =>
  lane.run(async () => parentPort?.postMessage(await answerTo(request))),
)
