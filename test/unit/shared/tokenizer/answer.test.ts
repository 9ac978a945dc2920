import { merkleLeaf, merkleRoot } from '@apus/shared/hashing'
import { answerRoot } from '@apus/shared/machine'
import { answerText, endsAnswer } from '@apus/shared/tokenizer'
import { describe, expect, it } from 'vitest'

const pieces = (...texts: (string | number[])[]) => texts.map(t => Buffer.from(t as string))

describe('answers', () => {
  it('join characters that were spread over pieces and lose one leading space', () => {
    expect(answerText(pieces(' a', [0xf0, 0x9f], [0x98, 0x80], 'b '))).toBe('a😀b ')
    expect(answerText(pieces('  a'))).toBe(' a')
    expect(answerText([])).toBe('')
  })

  it('end at the first stop string, wherever the pieces cut it', () => {
    expect(answerText(pieces('one', '\nQ', ': two'), ['\nQ:', 'two'])).toBe('one')
    expect(endsAnswer(pieces('one', '\nQ', ': two'), ['\nQ:'])).toBe(true)
    expect(endsAnswer(pieces('one', '\nQ:', ' two'), ['\nQ:'])).toBe(false)
    expect(endsAnswer(pieces('one', 'e'), ['ee', 'é'])).toBe(true)
    expect(endsAnswer(pieces(), ['x'])).toBe(false)
  })

  it('look back over 64 pieces only', () => {
    const letters = Array.from({ length: 65 }, (_, i) => Buffer.from(String.fromCharCode(0x30 + i)))
    const text = Buffer.concat(letters).toString()
    expect(endsAnswer(letters, [text.slice(1)])).toBe(true)
    expect(endsAnswer(letters, [text])).toBe(false)
  })

  it('are committed piece by piece', () => {
    const p = pieces(' a', '', 'b')
    expect(answerRoot(p)).toEqual(merkleRoot(p.map(x => merkleLeaf('apus/answer-piece', x))))
    expect(answerRoot(p)).not.toEqual(answerRoot(pieces(' a', 'b')))
  })
})
