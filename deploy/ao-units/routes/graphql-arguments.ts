import { ApusError } from '@apus/shared/kit'

export type GraphqlValue =
  | string
  | number
  | boolean
  | null
  | readonly GraphqlValue[]
  | { readonly [name: string]: GraphqlValue }

/** A root field of a query: what it is called in the answer, what it asks for, and with which arguments. */
export interface RootField {
  readonly alias: string
  readonly name: string
  readonly arguments: { readonly [name: string]: GraphqlValue }
}

const TOKEN = /"""[\s\S]*?"""|"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?|[A-Za-z_]\w*|\.\.\.|[{}()[\]:$!=@|&]/g
const IGNORED = /#[^\n]*|[\s,\uFEFF]+/y

const malformed = (): ApusError =>
  new ApusError('query-invalid', 'The GraphQL query cannot be read.', { blame: 'peer' })

function tokensOf(query: string): string[] {
  const tokens: string[] = []
  for (let at = 0; at < query.length; ) {
    IGNORED.lastIndex = at
    const ignored = IGNORED.exec(query)
    if (ignored) {
      at += ignored[0].length
      continue
    }
    TOKEN.lastIndex = at
    const token = TOKEN.exec(query)
    if (token?.index !== at) throw malformed()
    tokens.push(token[0])
    at += token[0].length
  }
  return tokens
}

/**
 * The root fields of a GraphQL query. Selections are not read: the gateway answers every field it knows of a node,
 * which is a superset of what was selected. Errors: `query-invalid`.
 */
export function rootFields(query: string, variables: { readonly [name: string]: GraphqlValue }): RootField[] {
  const tokens = tokensOf(query)
  let at = 0
  const take = (expected?: string): string => {
    const token = tokens[at++]
    if (token === undefined || (expected !== undefined && token !== expected)) throw malformed()
    return token
  }
  const skipBlock = (open: string, close: string): void => {
    let depth = 0
    do {
      const token = take()
      if (token === open) depth++
      else if (token === close) depth--
    } while (depth > 0)
  }
  const value = (): GraphqlValue => {
    const token = take()
    if (token === '$') return variables[take()] ?? null
    if (token === '[') {
      const list: GraphqlValue[] = []
      while (tokens[at] !== ']') list.push(value())
      take(']')
      return list
    }
    if (token === '{') {
      const entries: Array<[string, GraphqlValue]> = []
      while (tokens[at] !== '}') {
        const name = take()
        take(':')
        entries.push([name, value()])
      }
      take('}')
      return Object.fromEntries(entries)
    }
    if (token.startsWith('"""')) return token.slice(3, -3)
    if (token.startsWith('"')) return JSON.parse(token) as string
    if (token === 'true' || token === 'false') return token === 'true'
    if (token === 'null') return null
    return /^-?\d/.test(token) ? Number(token) : token
  }

  while (tokens[at] !== '{') {
    if (tokens[at] === '(') skipBlock('(', ')')
    else take()
  }
  take('{')
  const fields: RootField[] = []
  while (tokens[at] !== '}') {
    const alias = take()
    if (tokens[at] === ':') take()
    const name = tokens[at - 1] === ':' ? take() : alias
    const given: Array<[string, GraphqlValue]> = []
    if (tokens[at] === '(') {
      take('(')
      while (tokens[at] !== ')') {
        const argument = take()
        take(':')
        given.push([argument, value()])
      }
      take(')')
    }
    if (tokens[at] === '{') skipBlock('{', '}')
    fields.push({ alias, name, arguments: Object.fromEntries(given) })
  }
  return fields
}
