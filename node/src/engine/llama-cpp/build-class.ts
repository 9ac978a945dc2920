import { digest, fromBase64Url } from '@apus/shared/hashing'
import { MAX_CLASS_BYTES } from '@apus/shared/protocol'
import { instructionSet } from './instruction-set.ts'

/** By this beginning the contract knows the classes that nobody can prove. */
const FAMILY = 'llama.cpp'
/** The widest vector unit of a set stands for it in the class, the digest for the rest. */
const VECTOR_UNITS = ['AVX512', 'AVX2', 'AVX', 'SVE', 'NEON', 'RISCV_V', 'VSX', 'VXE', 'WASM_SIMD']
/** 48 bits, as hexadecimal digits: enough that no two builds of this world share them by chance. */
const DIGEST_DIGITS = 12

/**
 * The class of a llama.cpp build, such as `llama.cpp/v0.5.0/avx512-1f2e3d4c5b6a`: its release, its widest vector unit, and a
 * digest of the release and the whole instruction set. Never longer than a class may be, whatever a machine can do.
 */
export function buildClass(release: string, systemInfo: string): string {
  const set = instructionSet(systemInfo)
  const unit = VECTOR_UNITS.find(name => set.includes(name)) ?? 'baseline'
  const identity = Buffer.from(fromBase64Url(digest('apus/llama-cpp-build', release, ...set)))
  const build = `${unit.toLowerCase()}-${identity.toString('hex').slice(0, DIGEST_DIGITS)}`
  const room = MAX_CLASS_BYTES - `${FAMILY}//${build}`.length
  return `${FAMILY}/${readable(release).slice(0, room)}/${build}`
}

const readable = (text: string): string => text.replace(/[^A-Za-z0-9._-]+/g, '-') || 'unnamed'
