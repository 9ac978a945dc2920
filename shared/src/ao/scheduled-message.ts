import { z } from 'zod'
import type { AoSignedMessage } from './ao-client.ts'
import { badAnswer, checkedFetch } from './requests.ts'

const text = z
  .string()
  .nullish()
  .transform(value => value ?? '')

const scheduled = z.object({
  message: z.object({
    id: z.string(),
    owner: z.object({ key: z.string() }),
    target: text,
    anchor: text,
    tags: z.array(z.object({ name: z.string(), value: z.string() })),
    data: text,
    signature: z.string(),
  }),
})

/** Reads a message of a process from its scheduler unit. Errors: as `AoClient`. */
export async function fetchScheduled(
  schedulerUrl: string,
  process: string,
  id: string,
  timeoutMs: number,
): Promise<AoSignedMessage> {
  const query = new URLSearchParams({ 'process-id': process })
  const response = await checkedFetch(`${schedulerUrl.replace(/\/$/, '')}/${id}?${query}`, {}, timeoutMs)
  const read = scheduled.safeParse(await response.json().catch(() => undefined))
  if (!read.success || read.data.message.id !== id) throw badAnswer('a scheduled message', read.error)
  const { owner, ...message } = read.data.message
  return { ...message, owner: owner.key }
}
