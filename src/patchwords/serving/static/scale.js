/** Colour scales that keep their order for every eye, and numbers in words. */

/** Anchors of a sequential scale of even lightness steps (viridis, CC0), dark to light. */
const SEQUENTIAL = [
  "440154",
  "482475",
  "414487",
  "355f8d",
  "2a788e",
  "21918c",
  "22a884",
  "44bf70",
  "7ad151",
  "bddf26",
  "fde725",
];
/** Anchors of a diverging scale (ColorBrewer RdBu), against to for; its middle is a light grey. */
const DIVERGING = ["2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7", "fddbc7", "f4a582", "d6604d", "b2182b"];
const STEPS = 256;

/**
 * @typedef {Uint32Array} Palette 256 pixels as ImageData holds them, smallest value first
 */

/** @returns {Palette} */
function interpolate(anchors) {
  const colours = anchors.map((text) => [0, 2, 4].map((at) => parseInt(text.slice(at, at + 2), 16)));
  const bytes = new Uint8ClampedArray(STEPS * 4);
  for (let step = 0; step < STEPS; step++) {
    const place = (step / (STEPS - 1)) * (colours.length - 1);
    const left = Math.min(Math.floor(place), colours.length - 2);
    for (let c = 0; c < 3; c++) {
      bytes[step * 4 + c] = colours[left][c] + (colours[left + 1][c] - colours[left][c]) * (place - left);
    }
    bytes[step * 4 + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}

/** Black that lets through more of the picture the larger the value is (as in the paper's figure 6). */
function shade() {
  const bytes = new Uint8ClampedArray(STEPS * 4);
  for (let step = 0; step < STEPS; step++) bytes[step * 4 + 3] = 255 - step;
  return new Uint32Array(bytes.buffer);
}

/** @type {{sequential: Palette, diverging: Palette, light: Palette}} */
export const PALETTES = { sequential: interpolate(SEQUENTIAL), diverging: interpolate(DIVERGING), light: shade() };

/**
 * @param {boolean} signed values may be against as well as for
 * @param {string} style "colours" or "light"
 * @returns {Palette}
 */
export function paletteFor(signed, style) {
  if (signed) return PALETTES.diverging;
  return style === "light" ? PALETTES.light : PALETTES.sequential;
}

/**
 * Say a number with three figures in its unit.
 * @param {number} value
 * @param {string} unit "share" becomes per cent
 */
export function say(value, unit) {
  if (!Number.isFinite(value)) return "–";
  if (unit === "share" || unit === "probability") return `${figures(value * 100)}\u00a0%`;
  return unit ? `${figures(value)}\u00a0${unit}` : figures(value);
}

/** @param {number} value @returns {string} with three figures, as people write it */
export function figures(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e6) return value.toExponential(1).replace("e", " e").replace("-", "−");
  const digits = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(digits, 4)).replace("-", "−");
}
