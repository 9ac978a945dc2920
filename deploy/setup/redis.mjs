import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

/** The oldest Redis that BullMQ is comfortable with. */
const MINIMUM_REDIS = [6, 2]
/** Package lists and a few megabytes on a slow line. */
const APT_TIMEOUT_MS = 300_000
/** An archive that says nothing for this long is out of reach (s); a network starts without Redis then. */
const APT_IMPATIENCE = ['http', 'https'].flatMap(way => ['-o', `Acquire::${way}::Timeout=15`])
const VERSION_TIMEOUT_MS = 10_000

const run = promisify(execFile)

/**
 * A `redis-server` that is new enough, or what is wrong.
 * @typedef {{path: string, missing?: undefined} | {path?: undefined, missing: string}} FoundRedis
 */

/**
 * Finds a `redis-server`; where there is none and this is a root user on a system with apt, Debian's package is
 * installed. `missing` tells why there is none in the end.
 * @param {(sentence: string) => void} [report]
 * @returns {Promise<FoundRedis>}
 */
export async function ensureRedis(report = () => {}) {
  const before = await findRedis()
  if (before.path !== undefined) return before
  if (process.getuid?.() !== 0 || (await findProgram('apt-get')) === undefined) return before
  report('installing redis-server with apt')
  try {
    await aptInstall(report)
  } catch {
    return { missing: `${before.missing}, and apt could not install it` }
  }
  return findRedis()
}

/** @param {(sentence: string) => void} report */
async function aptInstall(report) {
  // Runlevel 1 keeps the package from starting a server of its own.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  const apt = (/** @type {string[]} */ ...args) =>
    run('apt-get', ['--yes', '--quiet', ...APT_IMPATIENCE, ...args], {
      env,
      timeout: APT_TIMEOUT_MS,
      maxBuffer: 1 << 24,
    })
  const install = () => apt('install', '--no-install-recommends', 'redis-server')
  try {
    await install()
  } catch {
    report('reading the package lists')
    await apt('update')
    report('installing redis-server with apt')
    await install()
  }
}

/**
 * The `redis-server` on the PATH.
 * @returns {Promise<FoundRedis>}
 */
export async function findRedis() {
  const path = await findProgram('redis-server')
  if (path === undefined) return { missing: 'redis-server is not installed' }
  const { stdout } = await run(path, ['--version'], { timeout: VERSION_TIMEOUT_MS }).catch(() => ({
    stdout: '',
  }))
  const version = /v=(\d+)\.(\d+)\.\d+/.exec(stdout)
  const [major = 0, minor = 0] = version ? [Number(version[1]), Number(version[2])] : []
  const [wantedMajor = 0, wantedMinor = 0] = MINIMUM_REDIS
  const enough = major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
  if (enough) return { path }
  const found = version ? `has version ${major}.${minor}` : 'does not tell its version'
  return { missing: `${path} ${found} (${MINIMUM_REDIS.join('.')} or newer is needed)` }
}

/** @param {string} name */
async function findProgram(name) {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    if (directory === '') continue
    const path = join(directory, name)
    try {
      await access(path, constants.X_OK)
      return path
    } catch {}
  }
  return undefined
}
