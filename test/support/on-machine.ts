import type { MACHINES } from './strange-machine.mjs'

const PRELOAD = new URL('strange-machine.mjs', import.meta.url)

/** What a program is started with to run on another machine. */
export const onMachine = (machine: keyof typeof MACHINES, more: Readonly<Record<string, string>> = {}) => ({
  env: { ...process.env, NODE_OPTIONS: `--import=${PRELOAD}`, STRANGE_MACHINE: machine, ...more },
})
