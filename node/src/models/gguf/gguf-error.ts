import { ApusError } from '@apus/shared/kit'

export type GgufErrorCode =
  | 'gguf-missing'
  | 'gguf-truncated'
  | 'gguf-corrupt'
  | 'gguf-absurd'
  | 'gguf-unsupported'
  | 'gguf-not-finite'

/** The one way a GGUF file is refused: the file has to change, a retry cannot help. */
export const ggufError = (code: GgufErrorCode, message: string, cause?: unknown): ApusError =>
  new ApusError(code, message, { blame: 'self', cause })
