import type { ParsedItem, Tag } from '@apus/shared/arweave'
import { ApusError } from '@apus/shared/kit'
import { tagValue } from '../ao-message.ts'

const refused = (code: string, message: string): ApusError => new ApusError(code, message, { blame: 'peer' })

/** Processes read tag names without regard to case and take `_` for `-`, so names count as equal that way. */
const canonical = (name: string): string => name.toLowerCase().replaceAll('_', '-')

/** Tags by which only the messenger may say on whose behalf a message travels. */
const MESSENGER_TAGS = new Set(['from-process', 'from-module'])

/** Names that occur more than once, in canonical form. */
export function duplicateNames(tags: ReadonlyArray<{ readonly name: string }>): string[] {
  const seen = new Set<string>()
  return tags.map(tag => canonical(tag.name)).filter(name => seen.size === seen.add(name).size)
}

/** Cron schedules are the one case where a process repeats tag names on purpose. */
const isCronTag = (name: string): boolean => name.startsWith('cron-')

/**
 * Whether an item from outside may be scheduled, and as what.
 * Errors: `tag-duplicate`, `tag-reserved`, `type-foreign`, `module-unknown`, `scheduler-unknown`.
 */
export function admit(
  item: ParsedItem,
  units: { readonly module: string; readonly scheduler: string },
): 'Message' | 'Process' {
  const type = tagValue(item.tags, 'Type')
  if (type !== 'Message' && type !== 'Process')
    throw refused('type-foreign', 'The tag Type must be Message or Process.')
  checkTags(item.tags, type === 'Process')
  if (tagValue(item.tags, 'Data-Protocol') !== 'ao')
    throw refused('type-foreign', 'The tag Data-Protocol must be ao.')
  if (type === 'Process') admitProcess(item.tags, units)
  return type
}

/** Errors: `tag-duplicate`, `tag-reserved`. */
export function checkTags(tags: readonly Tag[], cronMayRepeat: boolean): void {
  const twice = duplicateNames(tags).find(name => !(cronMayRepeat && isCronTag(name)))
  if (twice !== undefined) throw refused('tag-duplicate', `The tag ${twice} occurs more than once.`)
  for (const { name } of tags)
    if (MESSENGER_TAGS.has(canonical(name)))
      throw refused('tag-reserved', `The tag ${name} is set by the messenger unit alone.`)
}

function admitProcess(
  tags: readonly Tag[],
  units: { readonly module: string; readonly scheduler: string },
): void {
  if (tagValue(tags, 'Module') !== units.module)
    throw refused('module-unknown', `These units run the module ${units.module} only.`)
  if (tagValue(tags, 'Scheduler') !== units.scheduler)
    throw refused('scheduler-unknown', `The scheduler of these units is ${units.scheduler}.`)
}
