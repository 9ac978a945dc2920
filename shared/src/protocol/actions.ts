import { ACCUSED_MOVES, CHALLENGER_MOVES } from './dispute.ts'

/** Action names of the two processes; contracts-lua/SPEC.md is their description and a test keeps both equal. */
export const TOKEN_ACTIONS = [
  'Info',
  'Balance',
  'Balances',
  'Total-Supply',
  'Transfer',
  'Batch-Transfer',
  'Burn',
] as const

export const DEPOSIT_ACTIONS = ['Deposit', 'Stake', 'Submit-Job'] as const

export const NETWORK_ACTIONS = [
  'Register',
  'Unregister',
  'Serve',
  'Pause',
  'Resume',
  'Unstake',
  'Withdraw',
  'List-Model',
  'Delist-Model',
  'Void-Model',
  'Submit-Job',
  'Cancel-Job',
  'Commit',
  'Retract',
  'Reveal',
  'Open-Dispute',
  ...ACCUSED_MOVES,
  ...CHALLENGER_MOVES,
  'Prove-Structure',
  'Prove-Answer',
  'Prove-Equivocation',
  'Tick',
  'Info',
  'Job',
  'Miner',
  'Model',
  'Account',
] as const

export type TokenAction = (typeof TOKEN_ACTIONS)[number]
export type DepositAction = (typeof DEPOSIT_ACTIONS)[number]
export type NetworkAction = (typeof NETWORK_ACTIONS)[number]
