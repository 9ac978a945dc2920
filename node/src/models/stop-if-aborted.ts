import { ApusError } from '@apus/shared/kit'

/** Throws `aborted` once the signal has fired. */
export function stopIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new ApusError('aborted', 'The work was stopped; start it again to go on.', {
      retry: true,
      blame: 'nobody',
      cause: signal.reason,
    })
}
