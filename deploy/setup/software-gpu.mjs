import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'

/**
 * A Vulkan driver that computes on the processor.
 * @typedef {{name: 'lavapipe' | 'swiftshader', icd: string, env: Record<string, string>}} SoftwareGpu
 * `icd` is the driver's manifest; `env` is what a process needs at its start to see this driver and no other.
 */

/** Chromium's package is 32 MB and LLVM's 24 MB, on a slow line. */
const FETCH_TIMEOUT_MS = 600_000
const UNPACK_TIMEOUT_MS = 120_000

/** Where a release's own Mesa is too old for Dawn (Debian 12 has 22.3), its backports have one that works. */
const MESA_SUITE = { bookworm: 'bookworm-backports', trixie: 'trixie' }

/** In this order: the first one is the faster, and brings the Vulkan loader that both need. */
const DRIVERS = [
  { name: 'lavapipe', library: 'libvulkan_lvp.so', folder: /^usr\/lib\/[^/]+$/, api: '1.4.305' },
  { name: 'swiftshader', library: 'libvk_swiftshader.so', folder: /^usr\/lib\/chromium$/, api: '1.3.0' },
]

const run = promisify(execFile)

/**
 * The software GPUs, fetched from Debian's archive and unpacked into `cacheDir` when they are not there yet;
 * nothing is installed into the system. `missing` tells why some are not among them.
 * @param {string} cacheDir
 * @param {(sentence: string) => void} [report]
 * @returns {Promise<{gpus: SoftwareGpu[], missing?: string}>}
 */
export async function ensureSoftwareGpus(cacheDir, report = () => {}) {
  const directory = resolve(cacheDir)
  const present = await findSoftwareGpus(directory)
  if (present.length === DRIVERS.length) return { gpus: present }
  await mkdir(directory, { recursive: true })
  const work = await mkdtemp(join(directory, 'fetch-'))
  try {
    const suite = await mesaSuite()
    report('Reading the package lists')
    const apt = await openApt(work, suite)
    const wanted = {
      lavapipe: [`mesa-vulkan-drivers/${suite}`, 'libvulkan1'],
      swiftshader: ['chromium-common'],
    }
    for (const { name } of DRIVERS) {
      if (present.some(gpu => gpu.name === name)) continue
      report(`Fetching ${name}`)
      await fetchDriver(apt, join(work, name), name, wanted[name])
      await rm(join(directory, name), { recursive: true, force: true })
      await rename(join(work, name, 'root'), join(directory, name))
    }
  } catch (error) {
    const gpus = await findSoftwareGpus(directory)
    const names = DRIVERS.map(({ name }) => name).filter(name => !gpus.some(gpu => gpu.name === name))
    const why = String(error instanceof Error ? error.message : error).replace(/\.$/, '')
    return { gpus, missing: `no software GPU could be fetched for ${names.join(' and ')} (${why})` }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
  return { gpus: await findSoftwareGpus(directory) }
}

/**
 * The software GPUs that lie in `cacheDir` already.
 * @param {string} cacheDir
 * @returns {Promise<SoftwareGpu[]>}
 */
export async function findSoftwareGpus(cacheDir) {
  if (process.platform !== 'linux') return []
  const directory = resolve(cacheDir)
  const loaders = librariesIn(join(directory, 'lavapipe'), /^usr\/lib\/[^/]+$/)
  const found = []
  for (const { name, library, folder, api } of DRIVERS) {
    const file = librariesIn(join(directory, name), folder)
      .map(path => join(path, library))
      .find(existsSync)
    if (file === undefined || loaders.length === 0) continue
    const icd = join(directory, `${name}.json`)
    const manifest = JSON.stringify({
      file_format_version: '1.0.0',
      ICD: { api_version: api, library_path: file },
    })
    if ((await readFile(icd, 'utf8').catch(() => '')) !== manifest) await writeFile(icd, manifest)
    const env = {
      VK_ICD_FILENAMES: icd,
      VK_DRIVER_FILES: icd,
      LD_LIBRARY_PATH: loaders.join(':'),
      XDG_RUNTIME_DIR: directory,
      // Compiling kernels for a processor takes seconds; the driver keeps what it compiled here.
      MESA_SHADER_CACHE_DIR: join(directory, 'shaders'),
    }
    found.push(/** @type {SoftwareGpu} */ ({ name, icd, env }))
  }
  return found
}

/**
 * Folders under `root` whose path relative to it matches.
 * @param {string} root
 * @param {RegExp} pattern
 */
function librariesIn(root, pattern) {
  const base = join(root, 'usr', 'lib')
  if (!existsSync(base)) return []
  return readdirSync(base, { withFileTypes: true })
    .filter(entry => entry.isDirectory() && pattern.test(`usr/lib/${entry.name}`))
    .map(entry => join(base, entry.name))
}

async function mesaSuite() {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '')
  const field = name => new RegExp(`^${name}="?([^"\n]*)"?$`, 'm').exec(release)?.[1]
  const suite = MESA_SUITE[field('VERSION_CODENAME') ?? '']
  if (field('ID') !== 'debian' || suite === undefined) {
    throw new Error(
      `they are taken from Debian 12 or 13, and this is ${field('PRETTY_NAME') ?? 'another system'}`,
    )
  }
  return suite
}

/**
 * Package lists of this machine's own Debian archives, with `suite` added, apart from the system's lists.
 * @param {string} work
 * @param {string} suite
 */
async function openApt(work, suite) {
  const codename = suite.replace('-backports', '')
  const entries = (await sourcesOfSystem()).filter(source => source.components.includes('main'))
  const own = entries.filter(source => source.suites.some(name => name.split(/[-/]/)[0] === codename))
  const archive = own.filter(source => source.suites.includes(codename))
  if (archive.length === 0) throw new Error(`apt has no source for ${codename} main.`)
  const wanted = [...own, ...archive.map(source => ({ ...source, suites: [suite] }))]
  for (const folder of ['lists/partial', 'empty']) await mkdir(join(work, folder), { recursive: true })
  const file = join(work, 'debian.sources')
  await writeFile(file, wanted.map(asDeb822).join('\n'))
  const options = {
    'Dir::Etc::SourceList': file,
    'Dir::Etc::SourceParts': join(work, 'empty'),
    'Dir::State::Lists': join(work, 'lists'),
    'Debug::NoLocking': '1',
  }
  const flags = Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  // An archive without this suite makes the update fail although the lists that matter were read: the fetch judges.
  const complaint = await aptGet([...flags, 'update']).then(
    () => '',
    error => error.message,
  )
  return { flags, complaint }
}

/**
 * @param {{flags: string[], complaint: string}} apt
 * @param {string} directory
 * @param {string} name
 * @param {string[]} packages
 */
async function fetchDriver(apt, directory, name, packages) {
  const archives = join(directory, 'archives')
  await mkdir(join(archives, 'partial'), { recursive: true })
  const cache = ['-o', `Dir::Cache::Archives=${archives}`]
  // SwiftShader needs the C library alone, so Chromium's other packages stay away.
  const verb =
    name === 'lavapipe'
      ? ['install', '--yes', '--reinstall', '--no-install-recommends', '--download-only']
      : ['download']
  try {
    await aptGet([...apt.flags, ...cache, ...verb, ...packages], archives)
  } catch (error) {
    throw new Error(apt.complaint === '' ? error.message : apt.complaint)
  }
  const debs = (await readdir(archives)).filter(file => file.endsWith('.deb'))
  if (debs.length === 0) throw new Error(`apt-get fetched nothing for ${packages.join(' ')}.`)
  for (const deb of debs) {
    await run('dpkg', ['-x', join(archives, deb), join(directory, 'root')], { timeout: UNPACK_TIMEOUT_MS })
  }
  if (name === 'swiftshader') await keepOnly(join(directory, 'root'), 'libvk_swiftshader.so')
}

/**
 * Chromium's 100 MB around the one library serve nobody here.
 * @param {string} root
 * @param {string} library
 */
async function keepOnly(root, library) {
  const folder = join(root, 'usr', 'lib', 'chromium')
  for (const file of await readdir(folder)) {
    if (file !== library) await rm(join(folder, file), { recursive: true })
  }
  for (const other of await readdir(root))
    if (other !== 'usr') await rm(join(root, other), { recursive: true })
  for (const other of await readdir(join(root, 'usr'))) {
    if (other !== 'lib') await rm(join(root, 'usr', other), { recursive: true })
  }
}

/**
 * @param {string[]} args
 * @param {string} [cwd]
 */
async function aptGet(args, cwd) {
  try {
    await run('apt-get', ['-q', ...args], {
      timeout: FETCH_TIMEOUT_MS,
      maxBuffer: 1 << 24,
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
      ...(cwd === undefined ? {} : { cwd }),
    })
  } catch (error) {
    if (error.code === 'ENOENT') throw new Error('apt-get is not on this machine.')
    const line = String(error.stderr ?? '')
      .split('\n')
      .find(text => text.startsWith('E: '))
    throw new Error(`apt-get said: ${line?.slice(3) ?? error.message}`)
  }
}

/** The binary package sources that apt is set up with, in both of its formats. */
async function sourcesOfSystem() {
  const files = ['/etc/apt/sources.list']
  const parts = '/etc/apt/sources.list.d'
  for (const name of await readdir(parts).catch(() => [])) files.push(join(parts, name))
  const found = []
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch(() => '')
    if (file.endsWith('.sources')) found.push(...text.split(/\n\s*\n/).map(fromDeb822))
    else if (file.endsWith('.list')) found.push(...text.split('\n').map(fromOneLine))
  }
  return found.filter(source => source !== undefined)
}

/**
 * @typedef {{uris: string[], suites: string[], components: string[], options: Record<string, string>}} Source
 * @param {string} stanza
 * @returns {Source | undefined}
 */
function fromDeb822(stanza) {
  const fields = {}
  let name = ''
  for (const line of stanza.split('\n')) {
    if (line.startsWith('#')) continue
    const pair = /^([A-Za-z-]+):\s*(.*)$/.exec(line)
    if (pair !== null) {
      name = pair[1].toLowerCase()
      fields[name] = pair[2]
    } else if (name !== '') fields[name] += `\n${line}`
  }
  const { types = '', uris = '', suites = '', components = '', enabled = 'yes', ...options } = fields
  const words = text => text.split(/\s+/).filter(word => word !== '')
  if (!words(types).includes('deb') || /^(no|false|0)/i.test(enabled)) return undefined
  return { uris: words(uris), suites: words(suites), components: words(components), options }
}

/**
 * @param {string} line
 * @returns {Source | undefined}
 */
function fromOneLine(line) {
  const parts = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)$/.exec(line.replace(/#.*/, '').trim())
  if (parts === null) return undefined
  const options = Object.fromEntries(
    (parts[1] ?? '')
      .split(/\s+/)
      .filter(pair => pair.includes('='))
      .map(pair => [
        pair.slice(0, pair.indexOf('=')),
        pair.slice(pair.indexOf('=') + 1).replaceAll(',', ' '),
      ]),
  )
  return { uris: [parts[2]], suites: [parts[3]], components: parts[4].trim().split(/\s+/), options }
}

/** @param {Source} source */
function asDeb822({ uris, suites, components, options }) {
  const name = { arch: 'Architectures', lang: 'Languages' }
  return [
    'Types: deb',
    `URIs: ${uris.join(' ')}`,
    `Suites: ${suites.join(' ')}`,
    `Components: ${components.join(' ')}`,
    ...Object.entries(options).map(([key, value]) => `${name[key] ?? key}: ${value}`),
    '',
  ].join('\n')
}
