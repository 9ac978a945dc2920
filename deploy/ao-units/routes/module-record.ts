import { statSync } from 'node:fs'
import { AOS_MODULE_ID } from '../../setup/aos-module.mjs'
import type { Tag } from '../ao-message.ts'

/** The module that the units run, as a gateway would show it. */
export interface ModuleRecord {
  readonly id: string
  readonly owner: string
  readonly tags: readonly Tag[]
  readonly file: string
  readonly bytes: number
}

export function aosModuleRecord(file: string, owner: string): ModuleRecord {
  return {
    id: AOS_MODULE_ID,
    owner,
    file,
    bytes: statSync(file).size,
    tags: [
      { name: 'Data-Protocol', value: 'ao' },
      { name: 'Variant', value: 'ao.TN.1' },
      { name: 'Type', value: 'Module' },
      { name: 'Module-Format', value: 'wasm64-unknown-emscripten-draft_2024_02_15' },
      { name: 'Input-Encoding', value: 'JSON-V1' },
      { name: 'Output-Encoding', value: 'JSON-V1' },
      { name: 'Memory-Limit', value: '1-gb' },
      { name: 'Compute-Limit', value: '9000000000000' },
      { name: 'Content-Type', value: 'application/wasm' },
    ],
  }
}
