import { execFile } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'

/** The oldest Redis that BullMQ is comfortable with. */
const MINIMUM_REDIS = [6, 2]
/** Package lists and a few megabytes on a slow line. */
const APT_TIMEOUT_MS = 300_000
const VERSION_TIMEOUT_MS = 10_000

const run = promisify(execFile)

/**
 * The path of a `redis-server` of at least version 6.2; where there is none and this is a root user on a system with
 * apt, Debian's package is installed. Throws one sentence saying what to install otherwise.
 * @param {(sentence: string) => void} [report]
 * @returns {Promise<string>}
 */
export async function ensureRedis(report = () => {}) {
  const before = await findRedis()
  if (before.path !== undefined) return before.path
  const missing =
    before.tooOld === undefined
      ? 'redis-server is not installed'
      : `${before.tooOld.path} has version ${before.tooOld.version}`
  const wish = `install redis-server ${MINIMUM_REDIS.join('.')} or newer (on Debian: apt-get install redis-server)`
  if (process.getuid?.() !== 0 || (await findProgram('apt-get')) === undefined) {
    throw new Error(`${missing}; please ${wish}.`)
  }
  report('installing redis-server with apt')
  try {
    await aptInstall(report)
  } catch (cause) {
    throw new Error(`${missing}, and apt could not install it; please ${wish}.`, { cause })
  }
  const after = await findRedis()
  if (after.path === undefined) {
    throw new Error(`This system's packages have no Redis that is new enough; please ${wish}.`)
  }
  return after.path
}

/** @param {(sentence: string) => void} report */
async function aptInstall(report) {
  // Runlevel 1 keeps the package from starting a server of its own.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' }
  const apt = (/** @type {string[]} */ ...args) =>
    run('apt-get', ['--yes', '--quiet', ...args], { env, timeout: APT_TIMEOUT_MS, maxBuffer: 1 << 24 })
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

/** @returns {Promise<{path?: string, tooOld?: {path: string, version: string}}>} */
async function findRedis() {
  const path = await findProgram('redis-server')
  if (path === undefined) return {}
  const { stdout } = await run(path, ['--version'], { timeout: VERSION_TIMEOUT_MS })
  const version = /v=(\d+)\.(\d+)\.\d+/.exec(stdout)
  const [major = 0, minor = 0] = version ? [Number(version[1]), Number(version[2])] : []
  const [wantedMajor = 0, wantedMinor = 0] = MINIMUM_REDIS
  const enough = major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
  return enough ? { path } : { tooOld: { path, version: `${major}.${minor}` } }
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
