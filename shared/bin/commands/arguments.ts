import { InvalidArgumentError } from 'commander'
import { describeError } from '../../src/kit/errors.ts'
import { type Address, address, type ModelId, modelId } from '../../src/protocol/identity.ts'
import { Q16_ONE } from '../../src/protocol/sampler.ts'
import { parseApus } from '../../src/protocol/units.ts'

export function parseWhole(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('It must be a whole number.')
  return value
}

export function parseModel(text: string): ModelId {
  const id = modelId.safeParse(text)
  if (!id.success) throw new InvalidArgumentError('It must be the id of a model.')
  return id.data
}

export function parseAddress(text: string): Address {
  const id = address.safeParse(text)
  if (!id.success) throw new InvalidArgumentError('It must be an address.')
  return id.data
}

/** Token units of an amount in APUS. */
export function parseAmount(text: string): bigint {
  try {
    return parseApus(text)
  } catch (error) {
    throw new InvalidArgumentError(describeError(error))
  }
}

/** A fraction in 1/65536, as the sampler takes it. */
export function parseFraction(text: string): number {
  const value = Number(text)
  if (!(value >= 0)) throw new InvalidArgumentError('It must be a number of 0 or more.')
  return Math.round(value * Q16_ONE)
}
