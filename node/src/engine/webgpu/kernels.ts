import { readFileSync } from 'node:fs'

/** How a kernel uses a buffer: read-only storage, storage, or uniform. */
export type Binding = 'read' | 'write' | 'uniform'

interface Kernel {
  /** Its own file, after the files it builds upon. */
  readonly files: readonly string[]
  /** In the order of the kernel's binding numbers. */
  readonly bindings: readonly Binding[]
}

const bindings = (text: string): Binding[] =>
  [...text].map(letter => (letter === 'r' ? 'read' : letter === 'w' ? 'write' : 'uniform'))

const KERNELS = {
  embed: { files: ['shape', 'wide', 'shard', 'embed'], bindings: bindings('rrrrruwu') },
  norm: { files: ['shape', 'wide', 'divide', 'a8', 'rsqrt', 'norm'], bindings: bindings('rrwwu') },
  linear: { files: ['wide', 'shard', 'linear'], bindings: bindings('rrrurrw') },
  rows: { files: ['shape', 'wide', 'functions', 'angle', 'rows'], bindings: bindings('rrrrrwwu') },
  page: { files: ['shape', 'wide', 'functions', 'page'], bindings: bindings('rrrrrwu') },
  out: { files: ['shape', 'wide', 'functions', 'divide', 'a8', 'out'], bindings: bindings('rrrwwu') },
  act: {
    files: ['shape', 'wide', 'functions', 'sigmoid', 'divide', 'a8', 'act'],
    bindings: bindings('rrwwu'),
  },
  scores: { files: ['shape', 'wide', 'sampler', 'argmax', 'scores'], bindings: bindings('rrrwwu') },
  choose: { files: ['shape', 'sampler', 'argmax', 'choose'], bindings: bindings('rrrwwwwu') },
  select: {
    files: ['shape', 'wide', 'functions', 'sampler', 'argmax', 'select'],
    bindings: bindings('rrrrrwu'),
  },
  pick: {
    files: ['shape', 'wide', 'functions', 'sampler', 'argmax', 'noise', 'pick'],
    bindings: bindings('rrrrrwu'),
  },
  'self-test': {
    files: ['wide', 'functions', 'angle', 'rsqrt', 'sigmoid', 'divide', 'noise', 'self-test'],
    bindings: bindings('rrw'),
  },
  'page-digest': { files: ['shape', 'page-digest'], bindings: bindings('rrrwu') },
} satisfies Record<string, Kernel>

export type KernelName = keyof typeof KERNELS

/** Constants that a kernel is compiled with: numbers become u32, bigints i32. */
export type KernelConstants = Readonly<Record<string, number | bigint | boolean>>

export const kernelBindings = (name: KernelName): readonly Binding[] => KERNELS[name].bindings

/** The WGSL text of a kernel for one model's shapes. */
export function kernelCode(name: KernelName, constants: KernelConstants): string {
  const lines = Object.entries(constants).map(([key, value]) => {
    if (typeof value === 'boolean') return `const ${key} = ${value};`
    return typeof value === 'bigint' ? `const ${key} = ${value}i;` : `const ${key} = ${value}u;`
  })
  return [...lines, ...KERNELS[name].files.map(sourceOf)].join('\n')
}

const sources = new Map<string, string>()

function sourceOf(file: string): string {
  const known = sources.get(file)
  if (known !== undefined) return known
  const text = readFileSync(new URL(`./kernels/${file}.wgsl`, import.meta.url), 'utf8')
  sources.set(file, text)
  return text
}
