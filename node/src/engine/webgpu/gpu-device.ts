import { ApusError, oneLine } from '@apus/shared/kit'
import { create, globals } from 'webgpu'
import { adapterInfo, type GpuInfo } from './adapter-info.ts'
import { type KernelConstants, type KernelName, kernelBindings, kernelCode } from './kernels.ts'

Object.assign(globalThis, globals)

/** macOS has no Vulkan; everywhere else it is what the drivers offer. */
const BACKEND = process.platform === 'darwin' ? 'Metal' : 'Vulkan'

/** Dawn aborts the process when the object that `create` returned is collected while a device lives. */
const roots = new Set<GPU>()

/** A part of a buffer to be read back. */
export interface ReadBack {
  readonly buffer: GPUBuffer
  readonly offset: number
  /** Bytes, a multiple of 4. */
  readonly size: number
}

/**
 * One adapter's device. Every mistake of the driver or of a shader is final: the first error of any kind makes all
 * later calls fail with the same ApusError, so that nothing computed after it can pass for a result. Codes:
 * `gpu-missing`, `gpu-error`, `device-lost`, `gpu-out-of-memory`.
 */
export class GpuDevice {
  readonly info: GpuInfo
  readonly limits: GPUSupportedLimits
  readonly #gpu: GPU
  readonly #device: GPUDevice
  readonly #staging: GPUBuffer[] = []
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>()
  readonly #layouts = new Map<KernelName, GPUBindGroupLayout>()
  #fault: ApusError | undefined
  #closed = false

  private constructor(gpu: GPU, adapter: GPUAdapter, device: GPUDevice) {
    this.#gpu = gpu
    this.#device = device
    this.limits = device.limits
    this.info = adapterInfo(adapter.info)
    device.onuncapturederror = event => this.#fail(asError(event.error))
    void device.lost.then(lost => {
      if (this.#closed) return
      this.#fail(
        new ApusError(
          'device-lost',
          `The graphics device was lost: ${oneLine(lost.message) || lost.reason}.`,
          {
            retry: true,
          },
        ),
      )
    })
  }

  /** The default adapter with all of its limits, its answers not yet known. Errors: `gpu-missing`, `gpu-error`. */
  static async open(): Promise<GpuDevice> {
    const gpu = create([`backend=${BACKEND.toLowerCase()}`])
    roots.add(gpu)
    try {
      const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
      if (adapter === null) {
        throw new ApusError(
          'gpu-missing',
          `No usable ${BACKEND} adapter was found; ${BACKEND === 'Vulkan' ? 'install a driver with Vulkan 1.1 or ' : ''}run the CPU engine.`,
        )
      }
      if (!gpu.wgslLanguageFeatures.has('packed_4x8_integer_dot_product')) {
        throw new ApusError('gpu-missing', 'The WebGPU implementation lacks packed_4x8_integer_dot_product.')
      }
      const device = await adapter.requestDevice({ requiredLimits: limitsOf(adapter) })
      return new GpuDevice(gpu, adapter, device)
    } catch (cause) {
      roots.delete(gpu)
      if (cause instanceof ApusError) throw cause
      throw new ApusError('gpu-error', `The ${BACKEND} adapter gave no device.`, { cause })
    }
  }

  /** A buffer of `size` bytes rounded up to 16, zeroed. Errors: `gpu-out-of-memory`. */
  async allocate(label: string, size: number, usage: GPUBufferUsageFlags): Promise<GPUBuffer> {
    const bytes = Math.max(16, Math.ceil(size / 16) * 16)
    const bound = (usage & GPUBufferUsage.STORAGE) !== 0
    const limit = bound
      ? Math.min(this.limits.maxBufferSize, this.limits.maxStorageBufferBindingSize)
      : this.limits.maxBufferSize
    if (bytes > limit) {
      throw new ApusError(
        'gpu-out-of-memory',
        `${label} needs ${bytes} bytes in one buffer and this device allows ${limit}; use a shorter context or a smaller batch.`,
      )
    }
    return this.#guard(() => this.#device.createBuffer({ label, size: bytes, usage }))
  }

  /** A storage buffer that holds `data`. */
  async upload(label: string, data: ArrayBufferView<ArrayBuffer>): Promise<GPUBuffer> {
    const buffer = await this.allocate(
      label,
      data.byteLength,
      GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    )
    this.write(buffer, 0, data)
    return buffer
  }

  /** A uniform buffer that holds `data`. */
  async uploadUniform(label: string, data: ArrayBufferView<ArrayBuffer>): Promise<GPUBuffer> {
    const buffer = await this.allocate(
      label,
      data.byteLength,
      GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    )
    this.write(buffer, 0, data)
    return buffer
  }

  write(buffer: GPUBuffer, offset: number, data: ArrayBufferView<ArrayBuffer>): void {
    this.#device.queue.writeBuffer(buffer, offset, data.buffer, data.byteOffset, data.byteLength)
  }

  /** A kernel compiled once for these constants; kernels of one name share their binding layout. Errors: `gpu-error`. */
  compile(name: KernelName, constants: KernelConstants): Promise<GPUComputePipeline> {
    const key = `${name} ${Object.entries(constants).join()}`
    const known = this.#pipelines.get(key) ?? this.#compile(name, constants)
    this.#pipelines.set(key, known)
    return known
  }

  async #compile(name: KernelName, constants: KernelConstants): Promise<GPUComputePipeline> {
    const code = kernelCode(name, constants)
    const module = await this.#guard(() => this.#device.createShaderModule({ label: name, code }))
    const layout = this.#device.createPipelineLayout({ bindGroupLayouts: [this.#layout(name)] })
    try {
      return await this.#device.createComputePipelineAsync({
        label: name,
        layout,
        compute: { module, entryPoint: 'main' },
      })
    } catch (cause) {
      throw this.#fail(new ApusError('gpu-error', `The driver refused the kernel ${name}.`, { cause }))
    }
  }

  /** Binds buffers in the order of the kernel's bindings. */
  bind(name: KernelName, buffers: readonly GPUBuffer[]): GPUBindGroup {
    return this.#device.createBindGroup({
      label: name,
      layout: this.#layout(name),
      entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
    })
  }

  #layout(name: KernelName): GPUBindGroupLayout {
    const known = this.#layouts.get(name)
    if (known !== undefined) return known
    const types = { read: 'read-only-storage', write: 'storage', uniform: 'uniform' } as const
    const layout = this.#device.createBindGroupLayout({
      label: name,
      entries: kernelBindings(name).map((kind, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type: types[kind] },
      })),
    })
    this.#layouts.set(name, layout)
    return layout
  }

  /**
   * Submits one compute pass, at once, and gives the bytes of `reads` as they are after it. Rejects when anything at all
   * went wrong on the device. `compute` may also write buffers; those writes come before the pass. Further work may be
   * submitted while earlier runs are under way.
   */
  async run(
    compute: (pass: GPUComputePassEncoder) => void,
    reads: readonly ReadBack[] = [],
  ): Promise<Uint8Array[]> {
    const total = reads.reduce((sum, { size }) => sum + size, 0)
    const staging = await this.#guard(() => {
      const encoder = this.#device.createCommandEncoder()
      const pass = encoder.beginComputePass()
      compute(pass)
      pass.end()
      const target = total === 0 ? undefined : this.#takeStaging(total)
      let at = 0
      for (const { buffer, offset, size } of target === undefined ? [] : reads) {
        encoder.copyBufferToBuffer(buffer, offset, target as GPUBuffer, at, size)
        at += size
      }
      this.#device.queue.submit([encoder.finish()])
      return target
    })
    if (staging === undefined) return []
    try {
      await staging.mapAsync(GPUMapMode.READ, 0, total)
    } catch (cause) {
      const lost = new ApusError('device-lost', 'A result could not be read from the device.', {
        retry: true,
        cause,
      })
      throw this.#fail(lost)
    }
    const bytes = new Uint8Array(staging.getMappedRange(0, total).slice(0))
    staging.unmap()
    this.#staging.push(staging)
    this.#check()
    let at = 0
    return reads.map(({ size }) => {
      const part = bytes.subarray(at, at + size)
      at += size
      return part
    })
  }

  /** Copies the whole of one buffer to another of its size, some times over, and waits for it: the memory's speed. */
  async copy(from: GPUBuffer, to: GPUBuffer, times: number): Promise<void> {
    await this.#guard(() => {
      const encoder = this.#device.createCommandEncoder()
      for (let i = 0; i < times; i++) encoder.copyBufferToBuffer(from, 0, to, 0, from.size)
      this.#device.queue.submit([encoder.finish()])
    })
    await this.finish()
  }

  /** Resolves when all submitted work is done. */
  async finish(): Promise<void> {
    await this.#device.queue.onSubmittedWorkDone()
    this.#check()
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    for (const buffer of this.#staging) buffer.destroy()
    this.#device.destroy()
    roots.delete(this.#gpu)
  }

  #takeStaging(size: number): GPUBuffer {
    const index = this.#staging.findIndex(buffer => buffer.size >= size)
    const [found] = index < 0 ? [] : this.#staging.splice(index, 1)
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST
    return found ?? this.#device.createBuffer({ label: 'read-back', size, usage })
  }

  /** Runs `work` at once and waits until the device has said that it found nothing wrong with it. */
  async #guard<T>(work: () => T): Promise<T> {
    this.#check()
    for (const filter of ['validation', 'out-of-memory', 'internal'] as const)
      this.#device.pushErrorScope(filter)
    let result: T
    let scopes: Promise<GPUError | null>[]
    try {
      result = work()
    } finally {
      scopes = [0, 1, 2].map(() => this.#device.popErrorScope())
    }
    for (const error of await Promise.all(scopes)) if (error !== null) throw this.#fail(asError(error))
    this.#check()
    return result
  }

  #check(): void {
    if (this.#fault !== undefined) throw this.#fault
    if (this.#closed) throw new ApusError('device-lost', 'The graphics device was closed.')
  }

  #fail(error: ApusError): ApusError {
    this.#fault ??= error
    return this.#fault
  }
}

/** Limits that kernels and weights may need; all others stay at WebGPU's guaranteed values. */
function limitsOf(adapter: GPUAdapter): Record<string, number> {
  const { limits } = adapter
  return {
    maxBufferSize: limits.maxBufferSize,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
  }
}

function asError(error: GPUError): ApusError {
  if (error instanceof GPUOutOfMemoryError) {
    return new ApusError('gpu-out-of-memory', `The graphics device has no memory left: ${firstLine(error)}.`)
  }
  return new ApusError('gpu-error', `The graphics device refused a command: ${firstLine(error)}.`)
}

const firstLine = (error: GPUError): string => oneLine(error.message.split('\n')[0] ?? '')
