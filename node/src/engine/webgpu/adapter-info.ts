import { oneLine } from '@apus/shared/kit'

export interface GpuInfo {
  readonly vendor: string
  readonly device: string
  readonly description: string
  /** True for a driver that computes on the processor. */
  readonly software: boolean
}

/** What an adapter says of itself, as far as it can be shown: drivers write their names as they like. */
export const adapterInfo = (info: GPUAdapterInfo): GpuInfo => ({
  vendor: oneLine(info.vendor),
  device: oneLine(info.device),
  description: oneLine(info.description),
  software: info.isFallbackAdapter,
})
