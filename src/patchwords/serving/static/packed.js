/** Answers of the server: JSON, and named arrays with a JSON heading. */

/**
 * @typedef {Object} Packed
 * @property {Object<string, {data: Uint16Array|Float32Array, shape: number[]}>} arrays float16 stays as its 16 bits
 * @property {Object<string, any>} meta
 */

/** Type of an array in the file -> view that reads it without a copy. */
const VIEWS = { float16: Uint16Array, float32: Float32Array };
const ALIGNMENT = 8;
/** Characters that cannot be seen but turn or hide the text around them. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Read JSON whose strings are shown to people. @param {string} text @returns {any} */
export function readJson(text) {
  return JSON.parse(text, (_, value) => (typeof value === "string" ? value.replace(UNSEEN, "\ufffd") : value));
}

/**
 * Read 4 bytes of length, that much JSON, and the arrays after it, each at a multiple of 8 bytes.
 * @param {ArrayBuffer} buffer
 * @returns {Packed}
 * @throws {Error} the answer is cut off or holds an array of another type
 */
export function readPacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const heading = readJson(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  let at = 4 + length;
  for (const { name, dtype, shape } of heading.arrays) {
    const View = VIEWS[dtype];
    if (!View) throw new Error(`array of an unknown type ${dtype}`);
    const count = shape.reduce((product, side) => product * side, 1);
    arrays[name] = { data: new View(buffer, at, count), shape };
    at += Math.ceil((count * View.BYTES_PER_ELEMENT) / ALIGNMENT) * ALIGNMENT;
  }
  return { arrays, meta: heading.meta };
}

/** The number that each pattern of 16 bits stands for: HALF[bits]. */
export const HALF = halves();

function halves() {
  const numbers = new Float32Array(1 << 16);
  for (let bits = 0; bits < numbers.length; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    if (exponent === 0) numbers[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) numbers[bits] = fraction ? NaN : sign * Infinity;
    else numbers[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return numbers;
}
