import { ApusError } from '@apus/shared/kit'
import type { PromptFormat } from '@apus/shared/protocol'
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { z } from 'zod'

/** Frames a prompt as its format asks. Errors: `prompt-invalid`. */
export type PromptFrame = (prompt: string, format: PromptFormat) => string

const messages = z
  .array(z.object({ role: z.string().min(1).max(32), content: z.string() }))
  .min(1)
  .max(256)

/** Models without a template see the messages' texts one after another. */
const PLAIN_TEMPLATE = '{% for message in messages %}{{ message.content }}{% endfor %}'

// Frames for models whose files carry none but whose training fixed one, by `general.basename`.
const KNOWN_TEMPLATES: ReadonlyMap<unknown, string> = new Map([
  ['apus-dictionary', 'Q: {{ messages[-1].content }}\nA:'],
])

/** Longest list that a template may count through. */
const MAX_RANGE = 10_000

// What templates expect to find. No clock among it: every seat must frame alike.
const GLOBALS = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  add_generation_prompt: true,
  range(from: number, to?: number, step = 1): number[] {
    const [start, end] = to === undefined ? [0, from] : [from, to]
    const length = Math.max(0, Math.ceil((end - start) / step))
    if (!(length <= MAX_RANGE)) throw new Error('range() is too long')
    return Array.from({ length }, (_, i) => start + i * step)
  },
  raise_exception(message: string): never {
    throw new Error(message)
  },
}

/** The chat template (Jinja) of a GGUF file, or the one its model was trained for, or plain text. */
export function ggufChatTemplate(metadata: ReadonlyMap<string, unknown>): string {
  const own = metadata.get('tokenizer.chat_template')
  return typeof own === 'string'
    ? own
    : (KNOWN_TEMPLATES.get(metadata.get('general.basename')) ?? PLAIN_TEMPLATE)
}

/**
 * Prepares a chat template. `text` prompts become one user message, `chat` prompts are JSON messages, `raw` prompts
 * pass unchanged. Errors: `template-invalid`.
 */
export function promptFrame(source: string, bosToken: string, eosToken: string): PromptFrame {
  let program: ReturnType<typeof parse>
  try {
    program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))
  } catch (cause) {
    throw new ApusError('template-invalid', 'The chat template of the model cannot be read.', { cause })
  }
  return (prompt, format) => {
    if (format === 'raw') return prompt
    const conversation = format === 'chat' ? parseMessages(prompt) : [{ role: 'user', content: prompt }]
    try {
      const environment = new Environment()
      const known = { ...GLOBALS, messages: conversation, bos_token: bosToken, eos_token: eosToken }
      for (const [name, value] of Object.entries(known)) environment.set(name, value)
      return String(new Interpreter(environment).run(program).value)
    } catch (cause) {
      throw invalid('The chat template of the model refuses these messages.', cause)
    }
  }
}

function parseMessages(prompt: string): z.infer<typeof messages> {
  let value: unknown
  try {
    value = JSON.parse(prompt)
  } catch (cause) {
    throw invalid('The chat prompt is not JSON.', cause)
  }
  const parsed = messages.safeParse(value)
  if (!parsed.success)
    throw invalid('The chat prompt is not a list of messages with role and content.', parsed.error)
  return parsed.data
}

const invalid = (message: string, cause: unknown): ApusError =>
  new ApusError('prompt-invalid', message, { blame: 'peer', cause })
