/** A GGUF metadata value with its type as the format names it. */
export type Entry =
  | readonly ['u32' | 'i32' | 'f32' | 'u64', number]
  | readonly ['bool', boolean]
  | readonly ['text', string]
  | readonly ['texts', readonly string[]]
  | readonly ['i32s' | 'f32s', readonly number[]]

export interface TensorToWrite {
  readonly name: string
  /** Fastest-moving dimension first. */
  readonly shape: readonly number[]
  /** GGML's number of the type. */
  readonly type: number
  readonly data: Uint8Array
}

export interface GgufToWrite {
  readonly metadata: Readonly<Record<string, Entry>>
  readonly tensors: readonly TensorToWrite[]
  readonly version?: number
}

const ALIGNMENT = 32

/** The bytes of a GGUF file. */
export function encodeGguf({ metadata, tensors, version = 3 }: GgufToWrite): Buffer {
  const entries = Object.entries(metadata)
  const header = [Buffer.from('GGUF'), u32(version), u64(tensors.length), u64(entries.length)]
  for (const [key, entry] of entries) header.push(text(key), value(entry))
  let offset = 0
  const data: Uint8Array[] = []
  for (const tensor of tensors) {
    header.push(text(tensor.name), u32(tensor.shape.length), ...tensor.shape.map(u64))
    header.push(u32(tensor.type), u64(offset))
    const padding = -tensor.data.length & (ALIGNMENT - 1)
    data.push(tensor.data, Buffer.alloc(padding))
    offset += tensor.data.length + padding
  }
  const head = Buffer.concat(header)
  return Buffer.concat([head, Buffer.alloc(-head.length & (ALIGNMENT - 1)), ...data])
}

function value(entry: Entry): Buffer {
  const [type, v] = entry
  switch (type) {
    case 'u32':
      return Buffer.concat([u32(4), u32(v)])
    case 'i32':
      return Buffer.concat([u32(5), i32(v)])
    case 'f32':
      return Buffer.concat([u32(6), f32(v)])
    case 'bool':
      return Buffer.concat([u32(7), Buffer.of(v ? 1 : 0)])
    case 'text':
      return Buffer.concat([u32(8), text(v)])
    case 'u64':
      return Buffer.concat([u32(10), u64(v)])
    case 'texts':
      return Buffer.concat([u32(9), u32(8), u64(v.length), ...v.map(text)])
    case 'i32s':
      return Buffer.concat([u32(9), u32(5), u64(v.length), ...v.map(i32)])
    case 'f32s':
      return Buffer.concat([u32(9), u32(6), u64(v.length), ...v.map(f32)])
  }
}

function u32(n: number): Buffer {
  const b = Buffer.alloc(4)
  b.writeUInt32LE(n)
  return b
}

function i32(n: number): Buffer {
  const b = Buffer.alloc(4)
  b.writeInt32LE(n)
  return b
}

function f32(n: number): Buffer {
  const b = Buffer.alloc(4)
  b.writeFloatLE(n)
  return b
}

function u64(n: number): Buffer {
  const b = Buffer.alloc(8)
  b.writeBigUInt64LE(BigInt(n))
  return b
}

function text(s: string): Buffer {
  const bytes = Buffer.from(s, 'utf8')
  return Buffer.concat([u64(bytes.length), bytes])
}
