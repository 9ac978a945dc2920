import { type FileHandle, open } from 'node:fs/promises'
import { ByteReader } from './byte-reader.ts'
import { GGML_TYPES, type GgmlType } from './ggml-types.ts'
import { ggufError } from './gguf-error.ts'

type GgufScalar = number | bigint | boolean | string
type GgufValue = GgufScalar | readonly GgufScalar[]
type GgufMetadata = ReadonlyMap<string, GgufValue>

export interface GgufTensor {
  readonly name: string
  readonly type: GgmlType
  /** Fastest-moving dimension first: a matrix is [columns, rows]. */
  readonly shape: readonly number[]
  /** Absolute position and length of its bytes in the file. */
  readonly offset: number
  readonly bytes: number
}

export interface Gguf {
  readonly version: number
  readonly metadata: GgufMetadata
  readonly tensors: ReadonlyMap<string, GgufTensor>
  readonly fileBytes: number
}

const MAGIC = 'GGUF'
const DEFAULT_ALIGNMENT = 32
// Generous for the largest models known (about 2,000 tensors, 256,000 tokens), small enough to read safely.
const MAX_METADATA = 65_536
const MAX_TENSORS = 65_536
const MAX_ARRAY = 1 << 22
const MAX_TEXT = 16 << 20
const MAX_NAME = 65_535
const MAX_DIMENSIONS = 4
const MAX_DIMENSION = 2 ** 31
const MAX_OFFSET = 2 ** 52

/** Opens a GGUF file and hands it with its header to `use`; the file is closed afterwards. */
export async function withGguf<T>(
  path: string,
  use: (gguf: Gguf, file: FileHandle) => Promise<T>,
): Promise<T> {
  let file: FileHandle
  try {
    file = await open(path, 'r')
  } catch (cause) {
    throw ggufError('gguf-missing', `The model file ${path} cannot be opened.`, cause)
  }
  try {
    return await use(await readGguf(file), file)
  } finally {
    await file.close()
  }
}

/**
 * Reads and checks the header of a GGUF v2 or v3 file: metadata, and tensors that lie inside the file.
 * Errors: `gguf-truncated`, `gguf-corrupt`, `gguf-absurd`, `gguf-unsupported`.
 */
async function readGguf(file: FileHandle): Promise<Gguf> {
  const fileBytes = (await file.stat()).size
  const reader = new ByteReader(file, fileBytes)
  if (fileBytes < 4 || (await reader.take(4)).toString('latin1') !== MAGIC)
    throw ggufError('gguf-corrupt', 'The file is not a GGUF file: it does not start with "GGUF".')
  const version = await reader.u32()
  if (version !== 2 && version !== 3)
    throw ggufError('gguf-unsupported', `GGUF version ${version} is not supported; versions 2 and 3 are.`)
  const tensorCount = await reader.count('tensors', MAX_TENSORS)
  const metadataCount = await reader.count('metadata entries', MAX_METADATA)

  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < metadataCount; i++) {
    const key = await reader.text(MAX_NAME, true)
    if (metadata.has(key)) throw ggufError('gguf-corrupt', `The metadata key ${key} appears twice.`)
    metadata.set(key, await readValue(reader, key))
  }
  const described = []
  for (let i = 0; i < tensorCount; i++) described.push(await readTensorInfo(reader))

  const alignment = metadata.get('general.alignment') ?? DEFAULT_ALIGNMENT
  if (typeof alignment !== 'number' || alignment < 1 || alignment > 65_536 || alignment % 8 !== 0)
    throw ggufError('gguf-corrupt', 'The alignment of the tensor data is not a multiple of 8 up to 65536.')
  const dataStart = Math.ceil(reader.position / alignment) * alignment
  return { version, metadata, tensors: placeTensors(described, dataStart, alignment, fileBytes), fileBytes }
}

type TensorInfo = Omit<GgufTensor, 'bytes'>

function placeTensors(
  described: readonly TensorInfo[],
  dataStart: number,
  alignment: number,
  fileBytes: number,
): ReadonlyMap<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>()
  let end = dataStart
  const placed = described.map(info => {
    const bytes = (info.shape.reduce((a, b) => a * b, 1) / info.type.block) * info.type.bytes
    return { ...info, bytes, offset: dataStart + info.offset }
  })
  for (const tensor of placed.toSorted((a, b) => a.offset - b.offset)) {
    if (tensors.has(tensor.name)) throw ggufError('gguf-corrupt', `The tensor ${tensor.name} appears twice.`)
    if ((tensor.offset - dataStart) % alignment !== 0 || tensor.offset < end)
      throw ggufError(
        'gguf-corrupt',
        `The data of tensor ${tensor.name} is misaligned or overlaps another's.`,
      )
    end = tensor.offset + tensor.bytes
    if (end > fileBytes)
      throw ggufError(
        'gguf-truncated',
        `The data of tensor ${tensor.name} should end at byte ${end}, the file ends at ${fileBytes}.`,
      )
    tensors.set(tensor.name, tensor)
  }
  return tensors
}

async function readTensorInfo(reader: ByteReader): Promise<TensorInfo> {
  const name = await reader.text(MAX_NAME, true)
  const dimensions = await reader.u32()
  if (dimensions < 1 || dimensions > MAX_DIMENSIONS)
    throw ggufError('gguf-absurd', `The tensor ${name} has ${dimensions} dimensions; 1 to 4 are accepted.`)
  const shape: number[] = []
  for (let d = 0; d < dimensions; d++) shape.push(await reader.count(`elements in ${name}`, MAX_DIMENSION))
  const elements = shape.reduce((a, b) => a * b, 1)
  if (elements === 0 || elements > Number.MAX_SAFE_INTEGER)
    throw ggufError('gguf-absurd', `The tensor ${name} has the impossible shape ${shape.join('×')}.`)
  const typeId = await reader.u32()
  const type = GGML_TYPES.get(typeId)
  if (type === undefined)
    throw ggufError('gguf-unsupported', `The tensor ${name} has the unknown type ${typeId}.`)
  if ((shape[0] ?? 0) % type.block !== 0)
    throw ggufError('gguf-corrupt', `The rows of ${name} are not whole blocks of type ${type.name}.`)
  const offset = await reader.count(`bytes before ${name}`, MAX_OFFSET)
  return { name, type, shape, offset }
}

async function readValue(reader: ByteReader, key: string): Promise<GgufValue> {
  const type = await reader.u32()
  if (type !== ARRAY) return readScalar(reader, type, key, false)
  const element = await reader.u32()
  const width = SCALARS.get(element)?.width ?? (element === TEXT ? 8 : undefined)
  if (width === undefined)
    throw ggufError('gguf-corrupt', `The metadata entry ${key} is an array of the unknown type ${element}.`)
  const length = await reader.count(`elements in ${key}`, MAX_ARRAY)
  if (length * width > reader.remaining)
    throw ggufError('gguf-truncated', `The file ends inside the metadata entry ${key}.`)
  const values: GgufScalar[] = []
  for (let i = 0; i < length; i++) values.push(await readScalar(reader, element, key, true))
  return values
}

async function readScalar(
  reader: ByteReader,
  type: number,
  key: string,
  strict: boolean,
): Promise<GgufScalar> {
  if (type === TEXT) return reader.text(MAX_TEXT, strict)
  const scalar = SCALARS.get(type)
  if (scalar === undefined)
    throw ggufError('gguf-corrupt', `The metadata entry ${key} has the unknown type ${type}.`)
  return scalar.read(await reader.take(scalar.width))
}

const TEXT = 8
const ARRAY = 9

const small = (value: bigint): number | bigint =>
  value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value

const SCALARS: ReadonlyMap<number, { width: number; read(bytes: Buffer): GgufScalar }> = new Map([
  [0, { width: 1, read: (b: Buffer) => b.readUInt8() }],
  [1, { width: 1, read: (b: Buffer) => b.readInt8() }],
  [2, { width: 2, read: (b: Buffer) => b.readUInt16LE() }],
  [3, { width: 2, read: (b: Buffer) => b.readInt16LE() }],
  [4, { width: 4, read: (b: Buffer) => b.readUInt32LE() }],
  [5, { width: 4, read: (b: Buffer) => b.readInt32LE() }],
  [6, { width: 4, read: (b: Buffer) => b.readFloatLE() }],
  [7, { width: 1, read: (b: Buffer) => b.readUInt8() !== 0 }],
  [10, { width: 8, read: (b: Buffer) => small(b.readBigUInt64LE()) }],
  [11, { width: 8, read: (b: Buffer) => small(b.readBigInt64LE()) }],
  [12, { width: 8, read: (b: Buffer) => b.readDoubleLE() }],
])
