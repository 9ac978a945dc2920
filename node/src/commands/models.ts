import { join } from 'node:path'
import { findVoidLeaf } from '@apus/shared/dispute'
import { ApusError } from '@apus/shared/kit'
import { modelId } from '@apus/shared/protocol'
import { Command } from 'commander'
import { readSettings } from '../home/home.ts'
import { openAccount } from '../miner/open-miner.ts'
import { DEFAULT_PLANES } from '../models/import/bundle-manifest.ts'
import { importGguf } from '../models/import/import-gguf.ts'
import { ModelStore } from '../models/store/model-store.ts'
import { type Console, homeOf } from './console.ts'
import { publishModelCommand } from './publish-model.ts'

interface Options {
  readonly json?: boolean
}

/** `models …`: bring GGUF files into the store of bundles, list, check and remove them, and end listings. */
export function modelsCommand(io: Console): Command {
  const models = new Command('models').description('import, list, verify, remove, publish and delist models')
  const add = (name: string, description: string): Command =>
    models.command(name).description(description).option('--json', 'print one JSON object')
  const storeOf = (command: Command) => new ModelStore(join(homeOf(command, io).path, 'models'))
  const say = ({ json }: Options, value: unknown, lines: readonly string[]): void => {
    for (const line of json ? [JSON.stringify(value)] : lines) io.print(line)
  }

  add('import <gguf>', 'turn a GGUF file into a bundle and print its root').action(
    async (gguf: string, options: Options, command: Command) => {
      const root = await watched((signal, show) =>
        importGguf(gguf, storeOf(command).folder, {
          planes: DEFAULT_PLANES,
          signal,
          onProgress: ({ step, done, total }) => show(`${step} ${percent(done, total)}`),
        }),
      )
      say(options, { root }, [root])
    },
  )

  add('list', 'the bundles of this miner').action(async (options: Options, command: Command) => {
    const stored = await storeOf(command).list()
    const lines = stored.map(m => `${m.root}  ${megabytes(m.bytes).padStart(10)}  ${m.name}`)
    say(options, stored, lines.length > 0 ? lines : ['no models yet: "apus-node models import <file.gguf>"'])
  })

  add('verify [root]', 'compare every byte of a bundle, or of all, with its root').action(
    async (root: string | undefined, options: Options, command: Command) => {
      const store = storeOf(command)
      const roots = root === undefined ? (await store.list()).map(m => m.root) : [root]
      await watched(async (signal, show) => {
        for (const one of roots)
          await store.verify(one, (done, total) => show(`verifying ${percent(done, total)}`), signal)
      })
      say(
        options,
        { intact: roots },
        roots.map(one => `${one}  intact`),
      )
    },
  )

  add('remove <root>', 'delete a bundle').action(async (root: string, options: Options, command: Command) => {
    await storeOf(command).remove(root)
    say(options, { removed: root }, [`${root}  removed`])
  })

  const accountOf = async (command: Command) => {
    const home = homeOf(command, io)
    return openAccount(home, await readSettings(home))
  }

  models.addCommand(publishModelCommand(io))

  add('delist <root>', 'take back a listing of yours; its bond returns after the last job').action(
    async (root: string, options: Options, command: Command) => {
      const { network } = await accountOf(command)
      await network.delistModel(modelId.parse(root))
      say(options, { delisted: root }, [`${root}  takes no more jobs`])
    },
  )

  add(
    'void <root>',
    'end the listing of a bundle that the machine does not allow; half of its bond goes to this account',
  ).action(async (root: string, options: Options, command: Command) => {
    const bundle = await storeOf(command).open(root)
    const found = await findVoidLeaf(bundle.checkedLeaves(), leaf => bundle.path(leaf)).finally(() =>
      bundle.close(),
    )
    if (found === undefined)
      throw new ApusError('nothing-to-prove', 'The machine allows every leaf of the bundle.')
    const { network } = await accountOf(command)
    await network.voidModel(modelId.parse(root), found.leaf, found.proof)
    say(options, { void: root, leaf: found.leaf }, [`${root}  is void: leaf ${found.leaf}`])
  })
  return models
}

const percent = (done: number, total: number): string => `${Math.floor((100 * done) / Math.max(1, total))} %`

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

/** Runs work that Ctrl-C stops cleanly and that shows its progress on one line of the terminal. */
async function watched<T>(
  work: (signal: AbortSignal, show: (line: string) => void) => Promise<T>,
): Promise<T> {
  const controller = new AbortController()
  const stop = (): void => controller.abort()
  let shown = ''
  const show = (line: string): void => {
    if (!process.stderr.isTTY || line === shown) return
    process.stderr.write(`\r\u001b[K${line}`)
    shown = line
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    return await work(controller.signal, show)
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
    show('')
  }
}
