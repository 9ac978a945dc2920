import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ApusError } from '@apus/shared/kit'
import type { Registry } from 'prom-client'

export interface StatusServer {
  readonly port: number
  close(): Promise<void>
}

/** `/health`, `/status` and `/metrics` on loopback. Errors: `port-in-use`. */
export async function startStatusServer(
  port: number,
  parts: { readonly registry: Registry; readonly status: () => unknown },
): Promise<StatusServer> {
  const answer = async (path: string, response: ServerResponse) => {
    switch (path) {
      case '/health':
        return response.end('ok\n')
      case '/status':
        return response.setHeader('content-type', 'application/json').end(JSON.stringify(parts.status()))
      case '/metrics':
        return response
          .setHeader('content-type', parts.registry.contentType)
          .end(await parts.registry.metrics())
      default:
        return response.writeHead(404).end()
    }
  }
  const server = createServer((request, response) => {
    answer(request.url ?? '/', response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const message = `Port ${port} for status and metrics is taken; choose another "statusPort".`
      reject(cause.code === 'EADDRINUSE' ? new ApusError('port-in-use', message, { cause }) : cause)
    })
    server.listen(port, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
