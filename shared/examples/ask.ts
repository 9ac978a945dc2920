// Asks a question and prints the answer, through the doors of @apus/shared.
import { connectAo } from '@apus/shared/ao'
import { loadWallet } from '@apus/shared/arweave'
import { ApusError, systemClock } from '@apus/shared/kit'
import { fetchLongAnswer, NetworkClient, Requester, readNetworkFile } from '@apus/shared/network'
import { address, formatApus } from '@apus/shared/protocol'

const { APUS_NETWORK = 'network.json', APUS_WALLET = 'wallet.json' } = process.env
const [question = 'What is a volcano?', networkFile = APUS_NETWORK, walletFile = APUS_WALLET] =
  process.argv.slice(2)

try {
  const network = await readNetworkFile(networkFile)
  const wallet = await loadWallet(walletFile)
  const client = new NetworkClient(connectAo(network.ao, wallet), network)
  const requester = new Requester(client, { clock: systemClock, address: address.parse(wallet.address) })

  const model = network.defaultModel
  if (model === undefined) throw new ApusError('model-missing', 'The network file names no default model.')

  // Pays from the wallet's account with the network; what the account lacks is deposited first.
  const id = await requester.submit({ model, prompt: question, maxTokens: 64 })
  const { job, text } = await requester.answer(id)

  const paid = job.seats.reduce((units, seat) => units + BigInt(seat.paid ?? 0), 0n)
  // An answer over 32 KB is with the miners that agreed on it.
  console.log(text ?? (await fetchLongAnswer(client, job, network.bootstrap)))
  console.log(`${job.agreed?.seats} of ${job.seats.length} seats agree; ${formatApus(paid)} APUS paid.`)
  console.log(`job ${id}`)
} catch (error) {
  // Every error of the network or of this library has a code that never changes and a sentence for a person.
  if (!(error instanceof ApusError)) throw error
  console.error(`${error.code}: ${error.message}`)
  if (error.code === 'insufficient-balance') console.error(`The wallet ${walletFile} needs more APUS.`)
  process.exitCode = 1
}
