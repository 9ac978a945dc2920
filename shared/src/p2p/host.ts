import { type GossipSub, gossipsub, StrictSign } from '@chainsafe/libp2p-gossipsub'
import { autoNATv2 } from '@libp2p/autonat-v2'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import type { Libp2p, PeerId, Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { ApusError } from '../kit/errors.ts'
import type { Logger } from '../kit/logger.ts'
import type { ProcessId } from '../protocol/identity.ts'
import { gossipSettings } from './gossip-settings.ts'
import { LinkKeeper } from './link-keeper.ts'
import type { NodeKey } from './node-key.ts'
import { type OpenOptions, PeerFinder } from './peer-finder.ts'

export const DEFAULT_LISTEN = '/ip4/127.0.0.1/tcp/0'
const DEFAULT_MAX_CONNECTIONS = 1000
/** New connections per second from one address: a whole testnet may start behind one. */
const INBOUND_PER_SECOND = 200
const MAX_PENDING_INBOUND = 500
/** A dead link is noticed within a ping and its patience, also while this machine's cores are all computing. */
const PING_INTERVAL_MS = 5_000
const PING_PATIENCE_MS = 10_000
const DIAL_TIMEOUT_MS = 10_000
const MAX_RELAY_RESERVATIONS = 1000

export const commitmentsTopic = (network: ProcessId): string => `/apus/1/${network}/commitments`

export interface HostOptions {
  readonly network: ProcessId
  readonly key: NodeKey
  readonly log: Logger
  /** Multiaddrs to listen on; empty for a node that only dials. Default: a free port on loopback. */
  readonly listen?: readonly string[] | undefined
  /** Multiaddrs to tell others instead of the listening ones, for a node behind a port forward. */
  readonly announce?: readonly string[] | undefined
  /** Multiaddrs ending in `/p2p/<peer>`; dialled at the start and again whenever lost. */
  readonly bootstrap?: readonly string[] | undefined
  /** IP addresses behind which many honest peers stand: relays, NATs. Loopback always counts as shared. */
  readonly sharedAddresses?: readonly string[] | undefined
  /** `client` reaches and is reached by peers through relays; `server` carries others' traffic. */
  readonly relay?: 'none' | 'client' | 'server' | undefined
  /** Asks peers whether this node can be reached from outside; of use on the open internet only. */
  readonly checkReachability?: boolean | undefined
  readonly maxConnections?: number | undefined
}

type Services = { readonly pubsub: GossipSub }

/** A peer in the network: connections, the gossip topic, and what keeps them alive. */
export interface Host {
  readonly network: ProcessId
  readonly peer: string
  readonly topic: string
  readonly libp2p: Libp2p<Services>
  readonly log: Logger
  /** Multiaddrs with `/p2p/<peer>` at which this host can be dialled. */
  addresses(): string[]
  /** Ids of the connected peers. */
  peers(): string[]
  /** Connected peers known to listen to the topic. */
  subscribers(): string[]
  meshPeers(): string[]
  score(peer: string): number
  /** Dials an address now; errors: `address-invalid`, `peer-unreachable`. Returns the peer's id. */
  connect(address: string): Promise<string>
  /** Like `connect`, and dials again whenever the peer is lost. */
  keep(address: string): Promise<void>
  /** Opens a stream to a peer by its id, wherever in the network it is. Errors: those of libp2p. */
  open(peer: string, protocol: string, options: OpenOptions): Promise<Stream>
  /** Hangs up and refuses the peer for some minutes. */
  refuse(peer: string, code: string): Promise<void>
  stop(): Promise<void>
}

/** Parts of gossipsub that its exported type leaves out. */
interface GossipInternals {
  getMeshPeers(topic: string): string[]
  getScore(peer: string): number
  readonly streamsOutbound: ReadonlyMap<string, unknown>
}

/** Starts a libp2p host. Errors: `address-invalid`, `port-in-use`, `host-failed`. */
export async function createHost(options: HostOptions): Promise<Host> {
  const { network, key, log } = options
  const topic = commitmentsTopic(network)
  const bootstrap = (options.bootstrap ?? []).map(parsePeerAddress)
  const listen = (options.listen ?? [DEFAULT_LISTEN]).map(a => parseAddress(a).toString())
  const relay = options.relay ?? 'none'
  const refused = new Set<string>()
  const denied = (peer: PeerId): boolean => peer.type !== 'Ed25519' || refused.has(peer.toString())

  const libp2p: Libp2p<Services> = await createLibp2p({
    start: false,
    privateKey: await generateKeyPairFromSeed('Ed25519', key.seed.reveal()),
    addresses: { listen, ...(options.announce ? { announce: [...options.announce] } : {}) },
    transports: relay === 'none' ? [tcp()] : [tcp(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: {
      // Loopback and private addresses are dialled too: testnets and home networks live there.
      denyDialMultiaddr: () => false,
      denyDialPeer: denied,
      denyInboundEncryptedConnection: denied,
      denyOutboundEncryptedConnection: denied,
    },
    connectionManager: {
      maxConnections: options.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
      inboundConnectionThreshold: INBOUND_PER_SECOND,
      maxIncomingPendingConnections: MAX_PENDING_INBOUND,
      dialTimeout: DIAL_TIMEOUT_MS,
    },
    connectionMonitor: { pingInterval: PING_INTERVAL_MS, pingTimeout: { minTimeout: PING_PATIENCE_MS } },
    services: {
      identify: identify(),
      // Neighbours learn of an address that came later, such as one at a relay.
      identifyPush: identifyPush(),
      ping: ping(),
      pubsub: gossipsub({
        ...gossipSettings(topic, options.sharedAddresses ?? []),
        globalSignaturePolicy: StrictSign,
        // A relay meets many peers and may introduce them to each other when its mesh is full.
        doPX: relay === 'server',
      }),
      ...(relay === 'server'
        ? {
            relay: circuitRelayServer({
              reservations: { applyDefaultLimit: false, maxReservations: MAX_RELAY_RESERVATIONS },
            }),
          }
        : {}),
      ...(options.checkReachability ? { autonat: autoNATv2() } : {}),
    },
  })
  const pubsub = libp2p.services.pubsub
  const internals = pubsub as unknown as GossipInternals
  const links = new LinkKeeper(
    {
      connected: () => libp2p.getPeers().map(String),
      talksGossip: async peer => {
        const { protocols } = await libp2p.peerStore.get(peerIdFromString(peer))
        return protocols.some(p => pubsub.protocols.includes(p))
      },
      hears: peer =>
        internals.streamsOutbound.has(peer) && pubsub.getSubscribers(topic).some(p => p.toString() === peer),
      score: peer => internals.getScore(peer),
      hangUp: peer => libp2p.hangUp(peerIdFromString(peer), { signal: AbortSignal.timeout(DIAL_TIMEOUT_MS) }),
      dial: address => dial(libp2p, address),
      dialAgain: async peer =>
        void (await libp2p.dial(peerIdFromString(peer), { signal: AbortSignal.timeout(DIAL_TIMEOUT_MS) })),
      setRefused: (peer, on) => void (on ? refused.add(peer) : refused.delete(peer)),
    },
    log,
  )
  const finder = new PeerFinder(libp2p, network, log)
  try {
    await finder.serve()
    await libp2p.start()
  } catch (cause) {
    await libp2p.stop()
    throw startError(cause)
  }
  pubsub.subscribe(topic)
  for (const address of bootstrap) links.keep(address.peer, address.text)
  links.start()
  return {
    network,
    peer: key.peer,
    topic,
    libp2p,
    log,
    addresses: () => libp2p.getMultiaddrs().map(String),
    peers: () => libp2p.getPeers().map(String),
    subscribers: () => pubsub.getSubscribers(topic).map(String),
    meshPeers: () => internals.getMeshPeers(topic),
    score: peer => internals.getScore(peer),
    connect: async address => {
      await dial(libp2p, address)
      return parsePeerAddress(address).peer
    },
    keep: async address => {
      links.keep(parsePeerAddress(address).peer, address)
      await dial(libp2p, address)
    },
    open: (peer, protocol, opts) => finder.open(peer, protocol, opts),
    refuse: (peer, code) => links.refuse(peer, code),
    stop: async () => {
      await links.stop()
      await libp2p.stop()
    },
  }
}

async function dial(libp2p: Libp2p<Services>, address: string): Promise<void> {
  const target = multiaddr(parsePeerAddress(address).text)
  try {
    await libp2p.dial(target, { signal: AbortSignal.timeout(DIAL_TIMEOUT_MS) })
  } catch (cause) {
    throw new ApusError('peer-unreachable', 'The peer did not answer at its address.', {
      retry: true,
      blame: 'nobody',
      cause,
      details: { address },
    })
  }
}

function parseAddress(text: string) {
  try {
    return multiaddr(text)
  } catch (cause) {
    throw new ApusError('address-invalid', `"${text}" is not a multiaddr such as /ip4/127.0.0.1/tcp/4001.`, {
      cause,
    })
  }
}

function parsePeerAddress(text: string): { readonly peer: string; readonly text: string } {
  const peer = parseAddress(text)
    .getComponents()
    .findLast(c => c.name === 'p2p')?.value
  if (peer === undefined) throw new ApusError('address-invalid', `"${text}" does not end in /p2p/<peer id>.`)
  return { peer, text }
}

function startError(cause: unknown): ApusError {
  const text = `${cause instanceof Error ? cause.message : cause}`
  return /EADDRINUSE|address already in use/i.test(text) || JSON.stringify(cause).includes('EADDRINUSE')
    ? new ApusError('port-in-use', 'Another program listens on the port this node was told to use.', {
        cause,
      })
    : new ApusError('host-failed', 'The peer-to-peer host did not start.', { cause })
}
