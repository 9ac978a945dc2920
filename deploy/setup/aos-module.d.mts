export const AOS_MODULE_ID: string;
export const AOS_MODULE_SHA256: string;
export function ensureAosModule(
	cacheDir: string,
	report?: (sentence: string) => void,
): Promise<string>;
