import type { FileHandle } from 'node:fs/promises'
import { ApusError } from '@apus/shared/kit'
import { EMBEDDING_SHIFTS, GROUP, SAT, SEGMENT, SHIFTS, tileRows } from '@apus/shared/machine'
import type { LinearSource } from './linear-source.ts'
import { type NumberFormats, rowFormats } from './number-formats.ts'
import { type QuantisedRow, quantiseRow } from './quantise-row.ts'

interface MachineRow extends QuantisedRow {
  readonly shift: number
  readonly bias: number
}

/** The tiles of a matrix in the order of a bundle. */
export async function* encodeTensor(
  file: FileHandle,
  source: LinearSource,
  formats: NumberFormats,
  valueRows: number,
  embeds: boolean,
): AsyncGenerator<Uint8Array> {
  const read = await source.open(file)
  const perTile = tileRows(source.columns)
  const padded = Math.ceil(source.columns / GROUP) * GROUP
  for (let from = 0; from < source.rows; from += perTile) {
    const rows: MachineRow[] = []
    for (let r = from; r < Math.min(from + perTile, source.rows); r++) {
      const { input, output } = rowFormats(source.kind, r, valueRows, formats)
      const change = input - output
      const bounds = {
        min: Math.max(SHIFTS.least - change, embeds ? EMBEDDING_SHIFTS.least + formats.residual : -Infinity),
        max: Math.min(SHIFTS.most - change, embeds ? EMBEDDING_SHIFTS.most + formats.residual : Infinity),
      }
      const { values, factor, bias } = await read(r)
      const row = quantiseRow(values, factor, bounds)
      rows.push({ ...row, shift: row.exponent + change, bias: fixedBias(bias * factor, output) })
    }
    for (let column = 0; column < padded; column += SEGMENT)
      yield encodeTile(rows, column, Math.min(column + SEGMENT, padded))
  }
}

function encodeTile(rows: readonly MachineRow[], from: number, to: number): Uint8Array {
  const columns = to - from
  const groups = columns / GROUP
  const tile = Buffer.alloc(rows.length * (columns + 2 * groups + 1 + 4))
  const multipliersAt = rows.length * columns
  const shiftsAt = multipliersAt + rows.length * groups * 2
  const biasesAt = shiftsAt + rows.length
  rows.forEach((row, r) => {
    tile.set(new Uint8Array(row.weights.buffer, from, columns), r * columns)
    for (let g = 0; g < groups; g++)
      tile.writeUInt16LE(row.multipliers[from / GROUP + g] as number, multipliersAt + (r * groups + g) * 2)
    tile.writeUInt8(row.shift, shiftsAt + r)
    tile.writeInt32LE(from === 0 ? row.bias : 0, biasesAt + r * 4)
  })
  return tile
}

function fixedBias(bias: number, bits: number): number {
  const fixed = Math.round(bias * (1 << bits))
  if (Math.abs(fixed) > SAT)
    throw new ApusError('model-unsupported', 'A bias of the model is too large for the machine.')
  return fixed
}
