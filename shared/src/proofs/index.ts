export { checkProof, type StepProof } from './proof-file.ts'
export type { ProofStory } from './proof-story.ts'
