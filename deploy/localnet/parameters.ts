/** A network on one machine is impatient: windows of seconds instead of minutes and hours (ms). */
export const LOCAL_PARAMETERS = {
  commitWindow: 15_000,
  commitWindowPerToken: 50,
  revealWindow: 3_000,
  disputeWindow: 30_000,
  disputeClock: 60_000,
  disputeIncrement: 20_000,
  disputeRecheck: 1_000,
  grace: 10_000,
  unstakeDelay: 10_000,
  drawTimeout: 30_000,
  drawRetry: 2_000,
} as const
