import type { Command } from 'commander'

/** An id is 43 characters of base64url, and one in 64 begins with a dash. */
const DASHED_ID = /^-[A-Za-z0-9_-]{42}$/

/** Lets arguments be ids that begin with a dash; call it when all commands are there. */
export function allowDashedIds(program: Command, args: readonly string[]): void {
  if (!args.some(arg => DASHED_ID.test(arg))) return
  program.allowUnknownOption()
  for (const command of program.commands) allowDashedIds(command, args)
}
