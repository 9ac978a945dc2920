// Prepares a fresh clone, in plain JavaScript so that Node 20 can run it before anything is installed.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from './progress.mjs'

const ROOT = join(import.meta.dirname, '..', '..')
const CACHE = join(ROOT, '.cache')
const STAMP = join(ROOT, 'node_modules', '.apus-install')
const MINIMUM_NODE = 20
/** From here on Node runs our programs as they are, and one of our own is a convenience. */
const RUNS_TYPESCRIPT = [22, 18]
/** The beginning of npm's complaint says what is wrong; its end is advice. */
const ERROR_CHARACTERS = 1500

const purpose = process.argv[process.argv.indexOf('--for') + 1] ?? 'start'
const progress = new Progress(process.stderr)

try {
  if (Number(process.versions.node.split('.')[0]) < MINIMUM_NODE) {
    throw new Error(`Node ${MINIMUM_NODE} or newer is needed; this is ${process.versions.node}.`)
  }
  await packages()
  if (!['check', 'unit'].includes(purpose)) {
    const { ensureRedis } = await import('./redis.mjs')
    tell(await progress.step('Redis', report => ensureRedis(report)))
    const { ensureAosModule } = await import('./aos-module.mjs')
    await progress.step('aos module', report => ensureAosModule(join(CACHE, 'aos'), report))
  }
  if (purpose === 'test') {
    const { ensureSoftwareGpus } = await import('./software-gpu.mjs')
    tell(await progress.step('software GPUs', report => ensureSoftwareGpus(join(CACHE, 'gpu'), report)))
  }
  progress.end()
} catch (error) {
  progress.fail(error instanceof Error ? error.message : String(error))
  process.exit(1)
}

/** Says what could not be had. `npm start` does without, and its network says itself what it does in its place. */
function tell({ missing }) {
  if (missing !== undefined && purpose !== 'start') progress.lack(missing)
}

/** Installs the locked packages unless exactly this lock is installed already. */
async function packages() {
  const lock = createHash('sha256')
    .update(readFileSync(join(ROOT, 'package-lock.json')))
    .digest('hex')
  // A clone may be seen by two systems (a container on a Mac), whose packages differ.
  const stamp = `${lock} ${process.platform}-${process.arch}`
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === stamp) return
  await progress.step('npm packages (a few minutes the first time)', async report => {
    await npmCi(report)
    if (!existsSync(join(ROOT, 'node_modules', '.bin', 'node')) && !runsTypeScript(process.versions.node)) {
      throw new Error(
        `npm did not install Node 22 (the package \`node\`); allow its install script, or start this with Node ${RUNS_TYPESCRIPT.join('.')} or newer.`,
      )
    }
    mkdirSync(join(ROOT, 'node_modules'), { recursive: true })
    writeFileSync(STAMP, stamp)
    return 'installed'
  })
}

/** @param {string} version */
function runsTypeScript(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > RUNS_TYPESCRIPT[0] || (major === RUNS_TYPESCRIPT[0] && minor >= RUNS_TYPESCRIPT[1])
}

function npmCi(report) {
  return new Promise((resolve, reject) => {
    const child = spawn('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: ROOT,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let output = ''
    child.stderr.on('data', chunk => {
      output += chunk
    })
    const started = Date.now()
    const timer = setInterval(() => report(`${Math.round((Date.now() - started) / 1000)} s`), 1000)
    child.on('error', reject)
    child.on('close', code => {
      clearInterval(timer)
      if (code === 0) resolve()
      else reject(new Error(`npm ci failed with code ${code}:\n${output.trim().slice(0, ERROR_CHARACTERS)}`))
    })
  })
}
