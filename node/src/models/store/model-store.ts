import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ApusError, decodeCanonical, errorCode } from '@apus/shared'
import { z } from 'zod'
import { BundleFile } from './bundle-file.ts'

const ROOT = /^[A-Za-z0-9_-]{43}$/

export interface StoredModel {
  readonly root: string
  readonly name: string
  readonly bytes: number
  readonly context: number
}

const summary = z.object({ name: z.string(), context: z.int() })

/** Bundles in a folder, each in a subfolder that bears its root. */
export class ModelStore {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  /** Where a bundle lies, whether it is there or not. */
  path(root: string): string {
    if (!ROOT.test(root)) throw new ApusError('model-unknown', `"${root}" is not the root of a bundle.`)
    return join(this.folder, root)
  }

  /** Opens a bundle without reading its leaves. Errors: `model-unknown`, `bundle-missing`, `bundle-corrupt`. */
  async open(root: string): Promise<BundleFile> {
    const bundle = await BundleFile.open(this.path(root))
    if (bundle.root === root) return bundle
    await bundle.close()
    throw new ApusError(
      'bundle-corrupt',
      'The list of leaves does not belong to the bundle whose name it bears.',
    )
  }

  /** All bundles, by name and root; those that cannot be opened are left out. */
  async list(): Promise<StoredModel[]> {
    const names = await readdir(this.folder).catch(() => [])
    const models: StoredModel[] = []
    for (const root of names.filter(name => ROOT.test(name))) {
      try {
        models.push(await this.#summarise(root))
      } catch (error) {
        if (errorCode(error) === undefined) throw error
      }
    }
    return models.sort((a, b) => (`${a.name} ${a.root}` < `${b.name} ${b.root}` ? -1 : 1))
  }

  /**
   * Reads a whole bundle and compares every leaf with its root. Errors: those of `open`, `aborted`.
   */
  async verify(
    root: string,
    onProgress: (done: number, total: number) => void = () => {},
    signal?: AbortSignal,
  ): Promise<void> {
    const bundle = await this.open(root)
    try {
      for await (const [index] of bundle.checkedLeaves(signal)) onProgress(index + 1, bundle.leafCount)
    } finally {
      await bundle.close()
    }
  }

  /** Deletes a bundle. Errors: `model-unknown`, `bundle-missing`. */
  async remove(root: string): Promise<void> {
    await (await BundleFile.open(this.path(root))).close()
    await rm(this.path(root), { recursive: true })
  }

  async #summarise(root: string): Promise<StoredModel> {
    const bundle = await this.open(root)
    try {
      const [manifest] = await bundle.leaves(0)
      const parsed = summary.safeParse(decodeCanonical(manifest as Uint8Array))
      if (!parsed.success) throw new ApusError('bundle-corrupt', 'The manifest of the bundle is malformed.')
      return { root, ...parsed.data, bytes: bundle.bytes }
    } finally {
      await bundle.close()
    }
  }
}
