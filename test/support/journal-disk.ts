import type { JournalFile } from '../../node/src/work/journal-file.ts'

/** A disk under a journal that can be full, lose power and keep half of what was being written. */
export class JournalDisk {
  bytes = new Uint8Array(0)
  full = false
  dead = false
  appends = 0
  /** Called before each append; what it returns of the bytes is kept when it also kills the disk. */
  beforeAppend: (bytes: Uint8Array) => Promise<void> = async () => {}

  /** The file as a process opens it; a process that died cannot touch the disk any more. */
  open(): JournalFile {
    this.dead = false
    let mine = true
    const alive = () => {
      if (this.dead || !mine) {
        mine = false
        throw Object.assign(new Error('the process is dead'), { code: 'EIO' })
      }
      if (this.full) throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
    }
    return {
      read: async () => this.bytes,
      append: async bytes => {
        await this.beforeAppend(bytes)
        alive()
        this.appends++
        this.bytes = Buffer.concat([this.bytes, bytes])
      },
      truncate: async size => {
        this.bytes = this.bytes.slice(0, size)
      },
      replace: async bytes => {
        alive()
        this.bytes = Uint8Array.from(bytes)
      },
      close: async () => {},
    }
  }

  /** The process dies; of a record that was being written, `torn` may be left. */
  kill(torn: Uint8Array = new Uint8Array(0)): void {
    this.dead = true
    this.bytes = Buffer.concat([this.bytes, torn])
  }
}
