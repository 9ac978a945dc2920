import type { AddressInfo } from 'node:net'
import { ApusError, type Logger } from '@apus/shared/kit'
import { type JobView, jobId } from '@apus/shared/protocol'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import type { Registry } from 'prom-client'
import type { Health } from '../health.ts'

const HOST = '127.0.0.1'

export interface HttpParts {
  readonly health: () => Promise<Health>
  readonly registry: Registry
  /** A job as published, and the miners whose commitments were gossiped. */
  readonly job: (
    id: JobView['id'],
  ) => { readonly job: JobView; readonly committed: readonly string[] } | undefined
  readonly log: Logger
}

export interface HttpServer {
  readonly url: string
  close(): Promise<void>
}

/** `/health`, `/metrics` and `/jobs/:id` on loopback, to read only. Errors: `port-in-use`. */
export async function startHttp(
  port: number,
  { health, registry, job, log }: HttpParts,
): Promise<HttpServer> {
  const app = new Hono()
  app.get('/health', async c => {
    const now = await health()
    return c.json(now, now.ok ? 200 : 503)
  })
  app.get('/metrics', async c =>
    c.body(await registry.metrics(), 200, { 'content-type': registry.contentType }),
  )
  app.get('/jobs/:id', c => {
    const id = jobId.safeParse(c.req.param('id'))
    if (!id.success)
      return c.json({ code: 'id-invalid', message: 'A job id is 43 base64url characters.' }, 400)
    const found = job(id.data)
    return found === undefined
      ? c.json({ code: 'unknown-job', message: 'No job with this id is known here.' }, 404)
      : c.json(found)
  })
  app.notFound(c => c.json({ code: 'not-found', message: 'There is nothing at this path.' }, 404))
  app.onError((err, c) => {
    log.error({ err }, 'A request could not be answered.')
    return c.json({ code: 'internal', message: 'The coordinator failed to answer.' }, 500)
  })
  return new Promise((resolve, reject) => {
    const server = serve({ fetch: app.fetch, hostname: HOST, port }, (address: AddressInfo) =>
      resolve({
        url: `http://${HOST}:${address.port}`,
        close: () =>
          new Promise(done => {
            server.close(() => done())
            if ('closeAllConnections' in server) server.closeAllConnections()
          }),
      }),
    )
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        cause.code === 'EADDRINUSE'
          ? new ApusError('port-in-use', `Port ${port} is taken; choose another "http.port".`, { cause })
          : cause,
      ),
    )
  })
}
