/** Domain of the tree of K/V pages (SPEC.md section 4). */
const PAGE_DOMAIN = 'apus.machine.1/page'

/** SHA-256's round constants. */
const ROUND_CONSTANTS = [
  0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
  0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
  0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
  0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
  0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
  0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
  0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
  0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
]

/** Where `kernels/page-digest.wgsl` reads the leaf's prefix and the round constants. */
const PREFIX_AT = 5
const CONSTANTS_AT = 11

export const DIGEST_REQUEST_WORDS = CONSTANTS_AT + ROUND_CONSTANTS.length

/** What the page-digest kernel reads for one layer. */
export function pageDigestRequest(
  sequence: number,
  written: number,
  pages: number,
  layer: number,
): Uint32Array<ArrayBuffer> {
  const prefix = new Uint8Array(24)
  prefix[1] = PAGE_DOMAIN.length
  prefix.set(Buffer.from(PAGE_DOMAIN, 'ascii'), 2)
  const view = new DataView(prefix.buffer)
  const words = new Uint32Array(DIGEST_REQUEST_WORDS)
  words.set([sequence, written, pages, layer, ROUND_CONSTANTS.length])
  for (let i = 0; i < 6; i++) words[PREFIX_AT + i] = view.getUint32(i * 4)
  words.set(ROUND_CONSTANTS, CONSTANTS_AT)
  return words
}
