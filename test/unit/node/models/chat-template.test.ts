import { describe, expect, it } from 'vitest'
import { ggufChatTemplate, promptFrame } from '../../../../node/src/models/chat-template.ts'

const CHATML = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`
const STRICT = `{{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}[INST] {{ m.content | trim }} [/INST]{% endfor %}`
const DATED = `{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- endif %}{{ date_string }}: {{ messages[0].content }}`

const invalid = expect.objectContaining({ code: 'prompt-invalid', blame: 'peer' })

describe('chat templates', () => {
  it('frame one message and conversations', () => {
    const frame = promptFrame(CHATML, '', '')
    expect(frame('Hi', 'text')).toBe('<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n')
    const chat = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: '{{ 7 * 6 }}' },
    ]
    expect(frame(JSON.stringify(chat), 'chat')).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{{ 7 * 6 }}<|im_end|>\n<|im_start|>assistant\n',
    )
    expect(frame('as it is', 'raw')).toBe('as it is')
  })

  it('may refuse a conversation', () => {
    const frame = promptFrame(STRICT, '<s>', '</s>')
    expect(frame(' Hi ', 'text')).toBe('<s>[INST] Hi [/INST]')
    expect(() => frame('[{"role":"assistant","content":"x"}]', 'chat')).toThrow(invalid)
  })

  it('see no clock', () => {
    expect(promptFrame(DATED, '', '')('x', 'text')).toBe('26 Jul 2024: x')
  })

  it('cannot count for ever', () => {
    expect(promptFrame('{% for i in range(1, 7, 2) %}{{ i }}{% endfor %}', '', '')('x', 'text')).toBe('135')
    expect(() => promptFrame('{{ range(1000000000) }}', '', '')('x', 'text')).toThrow(invalid)
  })

  it('refuse malformed chats and templates', () => {
    const frame = promptFrame(CHATML, '', '')
    for (const prompt of ['', '{}', '[]', '[{"role":"user"}]', '[{"role":"user","content":1}]'])
      expect(() => frame(prompt, 'chat'), prompt).toThrow(invalid)
    expect(() => promptFrame('{% for x in %}', '', '')).toThrow(
      expect.objectContaining({ code: 'template-invalid' }),
    )
  })

  it('come from the file, or from what the model was trained for, or are plain', () => {
    const of = (entries: Record<string, unknown>) =>
      promptFrame(ggufChatTemplate(new Map(Object.entries(entries))), '', '')
    expect(of({ 'tokenizer.chat_template': 'T: {{ messages[0].content }}' })('x', 'text')).toBe('T: x')
    expect(of({ 'general.basename': 'apus-dictionary' })('What is a river?', 'text')).toBe(
      'Q: What is a river?\nA:',
    )
    expect(of({})('Once upon', 'text')).toBe('Once upon')
  })
})
