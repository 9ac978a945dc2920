export * from "./hashing/canonical.ts";
export * from "./hashing/digest.ts";
export * from "./hashing/merkle.ts";
export * from "./kit/errors.ts";
