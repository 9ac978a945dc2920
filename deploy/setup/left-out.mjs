/**
 * What is said of a part that this machine lacks, whose checks are therefore left out. With `CI` in the environment it
 * is an error instead: what runs unwatched must not go green by losing its parts. All that leaves something out asks here.
 * @param {string} reason a sentence's beginning: "redis-server is not installed"
 * @returns {string}
 */
export function leftOut(reason) {
  if (!['', '0', 'false'].includes(process.env.CI ?? '')) {
    throw new Error(`${reason}, and with CI set nothing may be left out.`)
  }
  return reason
}
