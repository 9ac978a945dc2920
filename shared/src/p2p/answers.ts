import { toBase64Url } from '../hashing/digest.ts'
import { ApusError } from '../kit/errors.ts'
import { answerRoot } from '../machine/digests.ts'
import type { Digest, JobId } from '../protocol/identity.ts'
import type { Host } from './host.ts'
import { answersProtocol } from './protocols.ts'
import type { RequestOptions, Requests } from './requests.ts'

/** Serves answers that this node keeps; `find` returns undefined for those it does not. Callers get `answer-unknown`. */
export const serveAnswers = (
  host: Host,
  requests: Requests,
  find: (job: JobId, answerRoot: Digest) => Promise<readonly Uint8Array[] | undefined>,
): Promise<void> =>
  requests.serve(answersProtocol, async wanted => {
    const pieces = wanted.network === host.network ? await find(wanted.job, wanted.answerRoot) : undefined
    if (pieces === undefined)
      throw new ApusError('answer-unknown', 'This node does not keep that answer.', { blame: 'peer' })
    return { pieces: [...pieces] }
  })

/** Fetches an answer's pieces and checks them against the root. Errors: `answer-forged`, and those of `request`. */
export async function fetchAnswer(
  host: Host,
  requests: Requests,
  peer: string,
  wanted: { readonly job: JobId; readonly answerRoot: Digest },
  options: RequestOptions = {},
): Promise<readonly Uint8Array[]> {
  const { pieces } = await requests.request(
    peer,
    answersProtocol,
    { network: host.network, ...wanted },
    options,
  )
  if (toBase64Url(answerRoot(pieces)) === wanted.answerRoot) return pieces
  throw new ApusError('answer-forged', 'The pieces that the peer sent are not those of the answer.', {
    blame: 'peer',
  })
}
