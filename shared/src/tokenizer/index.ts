export { answerText, endsAnswer, STOP_LOOKBACK } from './answer.ts'
export { createTokenizer, type Tokenizer } from './tokenizer.ts'
export { checkVocabulary, ggufVocabulary, type Vocabulary } from './vocabulary.ts'
