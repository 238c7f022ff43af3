/** A small map drawn into a small canvas, one pixel a value; the style sheet makes it large. */

const buffers = new WeakMap();

/**
 * Draw `values` from `low` to `high` in the colours of `palette`.
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} values (rows * columns)
 * @param {number[]} size rows, columns
 * @param {number} low @param {number} high
 * @param {import("./scale.js").Palette} palette
 * @param {boolean} [root] let colour go with the square root of the value
 */
export function paint(canvas, values, size, low, high, palette, root = false) {
  const { context, image, pixels } = bufferOf(canvas, size);
  const factor = high > low ? 1 / (high - low) : 0;
  for (let i = 0; i < pixels.length; i++) {
    const part = (values[i] - low) * factor;
    const step = 255 * (root && part > 0 ? Math.sqrt(part) : part);
    pixels[i] = palette[step <= 0 ? 0 : step >= 255 ? 255 : step | 0];
  }
  context.putImageData(image, 0, 0);
}

/** Make `canvas` show nothing. @param {HTMLCanvasElement} canvas */
export function wipe(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

/** @returns {{context: CanvasRenderingContext2D, image: ImageData, pixels: Uint32Array}} kept as long as it fits */
function bufferOf(canvas, [rows, columns]) {
  const kept = buffers.get(canvas);
  if (kept && kept.image.width === columns && kept.image.height === rows) return kept;
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const made = { context, image, pixels: new Uint32Array(image.data.buffer) };
  buffers.set(canvas, made);
  return made;
}
