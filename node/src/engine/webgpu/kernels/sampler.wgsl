// One sequence's settings as the host wrote them, 16 words.
struct Sampler {
  greedy: u32,
  inverse_temperature: u32,
  top_k: u32,
  top_p: u32,
  repetition: u32,
  inverse_repetition: u32,
  frequency: i32,
  presence: i32,
  window: u32,
  key: array<u32, 2>,
  spare: array<u32, 5>,
}
