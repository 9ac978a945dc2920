import { spawnSync } from 'node:child_process'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ApusError } from '@apus/shared/kit'

/** Two programs that append to one log would destroy it. Returns the release. Errors: `dir-in-use`. */
export function lockDirectory(dir: string): () => void {
  const file = join(dir, 'lock')
  const holder = textOf(file)
  const pid = Number(holder.split(' ')[0])
  if (pid > 0 && pid !== process.pid && isRunning(pid) && holder === holderOf(pid))
    throw new ApusError('dir-in-use', `The directory ${dir} is in use by the process ${pid}.`)
  writeFileSync(file, holderOf(process.pid))
  return () => rmSync(file, { force: true })
}

/** A process number comes back to life as another program; together with its start time it does not. */
function holderOf(pid: number): string {
  const started = textOf(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ')[19]
  return `${pid} ${started ?? startedByPs(pid)}`
}

/** For systems without `/proc`. */
function startedByPs(pid: number): string {
  const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' }
  const { stdout } = spawnSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8', env })
  return stdout?.trim() ?? ''
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
