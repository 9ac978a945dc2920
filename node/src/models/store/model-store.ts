import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { ApusError, errorCode } from '@apus/shared/kit'
import { decodeManifest, inDomain } from '@apus/shared/machine'
import { BundleFile, ROOT_NAME } from './bundle-file.ts'

export interface StoredModel {
  readonly root: string
  readonly name: string
  readonly bytes: number
  readonly context: number
}

/** Bundles in a folder, each in a subfolder that bears its root. */
export class ModelStore {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  /** Where a bundle lies, whether it is there or not. */
  path(root: string): string {
    if (!ROOT_NAME.test(root))
      throw new ApusError(
        'model-unknown',
        `"${root}" is neither a file nor the root of a bundle; "apus-node models list" shows the roots.`,
      )
    return join(this.folder, root)
  }

  /** Opens a bundle without reading its leaves. Errors: `model-unknown`, `bundle-missing`, `bundle-corrupt`. */
  async open(root: string): Promise<BundleFile> {
    return BundleFile.open(this.path(root))
  }

  /** All bundles, by name and root; those that cannot be opened are left out. */
  async list(): Promise<StoredModel[]> {
    const names = await readdir(this.folder).catch(() => [])
    const models: StoredModel[] = []
    for (const root of names.filter(name => ROOT_NAME.test(name))) {
      try {
        models.push(await this.#summarise(root))
      } catch (error) {
        if (errorCode(error) === undefined) throw error
      }
    }
    return models.sort((a, b) => (`${a.name} ${a.root}` < `${b.name} ${b.root}` ? -1 : 1))
  }

  /**
   * Reads a whole bundle, compares every leaf with its root and checks that the machine allows it. Errors: those of `open`,
   * `bundle-invalid`, `aborted`.
   */
  async verify(
    root: string,
    onProgress: (done: number, total: number) => void = () => {},
    signal?: AbortSignal,
  ): Promise<void> {
    const bundle = await this.open(root)
    try {
      for await (const [index] of inDomain(bundle.checkedLeaves(signal)))
        onProgress(index + 1, bundle.leafCount)
    } finally {
      await bundle.close()
    }
  }

  /** Deletes a bundle, whole or not. Errors: `model-unknown`, `bundle-missing`. */
  async remove(root: string): Promise<void> {
    const folder = this.path(root)
    await rm(folder, { recursive: true }).catch(cause => {
      throw new ApusError('bundle-missing', `There is no bundle in ${folder}.`, { cause })
    })
  }

  async #summarise(root: string): Promise<StoredModel> {
    const bundle = await this.open(root)
    try {
      const [manifest] = await bundle.leaves(0)
      const { name, context } = decodeManifest(manifest ?? new Uint8Array())
      return { root, name, context, bytes: bundle.bytes }
    } finally {
      await bundle.close()
    }
  }
}
