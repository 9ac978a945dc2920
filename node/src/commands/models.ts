import { homedir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { DEFAULT_PLANES } from '../models/import/bundle-manifest.ts'
import { type ImportProgress, importGguf } from '../models/import/import-gguf.ts'
import { ModelStore } from '../models/store/model-store.ts'

interface StoreOptions {
  readonly models: string
  readonly json?: boolean
}

/** `apus-node models …`: bring GGUF files into the store of bundles, list, check and remove them. */
export function modelsCommand(): Command {
  const models = new Command('models').description('Import, list, verify and remove models.')
  const add = (name: string, description: string): Command =>
    models
      .command(name)
      .description(description)
      .option('--models <folder>', 'where bundles are kept', defaultFolder())
      .option('--json', 'print one JSON line')

  add('import <gguf>', 'Turn a GGUF file into a bundle and print its root.').action(
    async (gguf: string, options: StoreOptions) => {
      const stop = stopOnInterrupt()
      const bar = progressBar()
      const root = await importGguf(gguf, options.models, {
        planes: DEFAULT_PLANES,
        signal: stop.signal,
        onProgress: p => bar.show(importLine(p)),
      }).finally(() => {
        bar.clear()
        stop.forget()
      })
      console.log(options.json ? JSON.stringify({ root }) : root)
    },
  )

  add('list', 'Show the bundles of the store.').action(async (options: StoreOptions) => {
    const stored = await new ModelStore(options.models).list()
    if (options.json) console.log(JSON.stringify(stored))
    else if (stored.length === 0)
      console.log('No models yet: import one with "apus-node models import <file.gguf>".')
    else for (const m of stored) console.log(`${m.root}  ${megabytes(m.bytes).padStart(9)}  ${m.name}`)
  })

  add('verify [root]', 'Compare every byte of a bundle, or of all, with its root.').action(
    async (root: string | undefined, options: StoreOptions) => {
      const store = new ModelStore(options.models)
      const roots = root === undefined ? (await store.list()).map(m => m.root) : [root]
      const stop = stopOnInterrupt()
      const bar = progressBar()
      for (const one of roots) {
        const onProgress = (done: number, total: number) => bar.show(`verifying ${percent(done, total)}`)
        await store.verify(one, onProgress, stop.signal).finally(() => bar.clear())
        if (!options.json) console.log(`${one}  intact`)
      }
      stop.forget()
      if (options.json) console.log(JSON.stringify({ intact: roots }))
    },
  )

  add('remove <root>', 'Delete a bundle from the store.').action(
    async (root: string, options: StoreOptions) => {
      await new ModelStore(options.models).remove(root)
      console.log(options.json ? JSON.stringify({ removed: root }) : `${root}  removed`)
    },
  )
  return models
}

const defaultFolder = (): string => join(process.env.APUS_HOME ?? join(homedir(), '.apus'), 'models')

const importLine = ({ step, done, total }: ImportProgress): string => `${step} ${percent(done, total)}`

const percent = (done: number, total: number): string => `${Math.floor((100 * done) / Math.max(1, total))} %`

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

/** One line on a terminal that is written over; nothing where standard error is not a terminal. */
function progressBar(): { show(line: string): void; clear(): void } {
  let shown = ''
  const write = (line: string): void => {
    if (!process.stderr.isTTY || line === shown) return
    process.stderr.write(`\r\u001b[K${line}`)
    shown = line
  }
  return { show: write, clear: () => write('') }
}

function stopOnInterrupt(): { readonly signal: AbortSignal; forget(): void } {
  const controller = new AbortController()
  const stop = (): void => controller.abort()
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  return {
    signal: controller.signal,
    forget: () => {
      process.off('SIGINT', stop)
      process.off('SIGTERM', stop)
    },
  }
}
