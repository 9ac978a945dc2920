// Asks a question and prints the answer, with @permaweb/aoconnect and Node alone: the network is two AO processes.
import { createHash, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { connect, createSigner } from '@permaweb/aoconnect'

/** Units paid at most, 10 APUS: what the answer does not cost comes back. */
const PAY = 10n * 10n ** 12n

const { APUS_NETWORK = 'network.json', APUS_WALLET = 'wallet.json' } = process.env
const [question = 'What is a volcano?', networkFile = APUS_NETWORK, walletFile = APUS_WALLET] =
  process.argv.slice(2)
const read = async path => JSON.parse(await readFile(path, 'utf8'))
const { network, token, defaultModel: model, ao: at } = await read(networkFile)
const key = await read(walletFile)
const signer = createSigner(key)
const me = createHash('sha256').update(Buffer.from(key.n, 'base64url')).digest('base64url')
const onHyperBeam = at.mode === 'mainnet'
const ao = onHyperBeam
  ? connect({ MODE: 'mainnet', URL: at.url, signer })
  : connect({ MODE: 'legacy', MU_URL: at.muUrl, CU_URL: at.cuUrl, GRAPHQL_URL: at.graphqlUrl, noLog: true })

const tag = (message, name) => message?.Tags.find(({ name: is }) => is === name)?.value
const fail = (code, sentence) => {
  console.error(`${code}: ${sentence}`)
  process.exit(1)
}

/** Where the network's results end now: a cursor on classic units, a slot on a HyperBEAM node. */
const newest = async () => (await ao.results({ process: network, limit: 1, sort: 'DESC' })).edges[0].cursor

/** What the network sends after that place, result by result; a HyperBEAM node has no pages of results. */
async function* sentAfter(place) {
  for (; ; await setTimeout(500)) {
    if (onHyperBeam) {
      for (const last = Number(await newest()); Number(place) < last; )
        yield (await ao.result({ process: network, message: ++place })).Messages
    } else {
      const { edges } = await ao.results({ process: network, from: place, sort: 'ASC' })
      for (const { node } of edges) yield node.Messages
      place = edges.at(-1)?.cursor ?? place
    }
  }
}

const start = await newest()
const reference = randomUUID()
const transfer = { Action: 'Transfer', Recipient: network, Quantity: String(PAY) }
const job = { 'X-Action': 'Submit-Job', 'X-Model': model, 'X-Max-Tokens': '64', 'X-Reference': reference }
const tags = Object.entries({ ...transfer, ...job }).map(([name, value]) => ({ name, value }))
const message = await ao.message({ process: token, signer, tags, data: question })
const sent = (await ao.result({ process: token, message })).Messages
const refused = sent.find(m => tag(m, 'Action') === 'Transfer-Error')
if (refused) fail(tag(refused, 'Code'), refused.Data)

for await (const messages of sentAfter(start)) {
  const mine = messages.filter(m => tag(m, 'X-Reference') === reference)
  const toMe = action => mine.find(m => m.Target === me && tag(m, 'Action') === action)
  // A refused payment, and change with the answer, come back by a transfer that the network asks the token for.
  const back = mine.find(m => m.Target === token && tag(m, 'Recipient') === me)
  if (tag(back, 'X-Error')) fail(tag(back, 'X-Code'), tag(back, 'X-Error'))
  const failed = toMe('Job-Failed')
  if (failed) fail(tag(failed, 'Code'), 'The job ended without an answer; the money comes back.')
  const answer = toMe('Infer-Response')
  if (!answer) continue
  const paid = PAY - BigInt(tag(back, 'Quantity') ?? 0)
  console.log(
    answer.Data ||
      'The answer is too long for a message: its miners keep it, and `apus infer` fetches such answers.',
  )
  console.log(
    `${tag(answer, 'Agreed')} of ${tag(answer, 'Seats')} seats agree; ${Number(paid) / 1e12} APUS paid.`,
  )
  console.log(`job ${tag(answer, 'Job')}`)
  break
}
