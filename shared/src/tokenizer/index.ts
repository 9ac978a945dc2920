export { answerText, endsAnswer } from './answer.ts'
export { createTokenizer, type Tokenizer } from './tokenizer.ts'
export { checkVocabulary, ggufVocabulary, type Vocabulary } from './vocabulary.ts'
