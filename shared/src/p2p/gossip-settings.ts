import { createPeerScoreParams, createTopicScoreParams } from '@chainsafe/libp2p-gossipsub/score'
import { MAX_COMMITMENT_BYTES } from '../protocol/signed-commitment.ts'

/** A gossip frame carries up to a few messages and control lists; larger ones are skipped unread. */
const MAX_GOSSIP_FRAME_BYTES = 256 * 1024
/** What may wait for one slow peer before its stream is given up; the watchdog then dials anew. */
const MAX_WAITING_BYTES = 1024 * 1024
/** Only messages larger than a commitment are worth telling neighbours not to send. */
const IDONTWANT_BYTES = 16 * MAX_COMMITMENT_BYTES

/** Peers beyond this many on one address count against each of them, unless the address is named as shared. */
const PEERS_PER_ADDRESS = 8
const LOOPBACK = ['127.0.0.1', '::1']

/** A refused message costs 10 × n², so three (−90) are forgiven, four (−160) silence gossip, seven (−490) end the talk. */
const INVALID_MESSAGE_WEIGHT = -10
export const SCORE_THRESHOLDS = {
  gossipThreshold: -100,
  publishThreshold: -200,
  graylistThreshold: -400,
  acceptPXThreshold: 10,
  opportunisticGraftThreshold: 1,
} as const

/**
 * Settings of gossipsub for one topic of small, rare, individually signed messages. `sharedAddresses` are IP addresses
 * behind which many honest peers may stand: relays, carrier NATs, a test machine.
 */
export const gossipSettings = (topic: string, sharedAddresses: readonly string[]) => ({
  allowedTopics: [topic],
  // AO alone must suffice: a miner without peers still commits there, and sync brings the statement later.
  allowPublishToZeroTopicPeers: true,
  batchPublish: true,
  floodPublish: true,
  idontwantMinDataSize: IDONTWANT_BYTES,
  maxInboundDataLength: MAX_GOSSIP_FRAME_BYTES,
  maxOutboundBufferSize: MAX_WAITING_BYTES,
  runOnLimitedConnection: true,
  scoreThresholds: SCORE_THRESHOLDS,
  scoreParams: createPeerScoreParams({
    IPColocationFactorThreshold: PEERS_PER_ADDRESS,
    IPColocationFactorWhitelist: new Set([...LOOPBACK, ...sharedAddresses]),
    topics: {
      [topic]: createTopicScoreParams({
        topicWeight: 1,
        timeInMeshWeight: 0.1,
        timeInMeshQuantum: 1000,
        timeInMeshCap: 10,
        firstMessageDeliveriesWeight: 0.1,
        firstMessageDeliveriesDecay: 0.99,
        firstMessageDeliveriesCap: 50,
        // The topic may be silent for hours: a quiet peer is not a bad one.
        meshMessageDeliveriesWeight: 0,
        meshFailurePenaltyWeight: 0,
        invalidMessageDeliveriesWeight: INVALID_MESSAGE_WEIGHT,
        invalidMessageDeliveriesDecay: 0.99,
      }),
    },
  }),
})
