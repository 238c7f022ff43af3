/** What is seen, as files: a PNG made here, the numbers from the server. */

import { address } from "./api.js";
import { shownView } from "./depth.js";
import { legendText, tickAt } from "./legend.js";
import { PALETTES, paletteFor, say } from "./scale.js";
import { methodFor } from "./sight.js";
import { paint } from "./overlay.js";

/** Pictures smaller than this are enlarged by a whole number, pixel by pixel, so that the legend can be read. */
const LEAST_WIDTH = 448;
const [LINE, EDGE] = [18, 10];
const BAR = Float32Array.from({ length: 256 }, (_, i) => i);

/**
 * @typedef {Object} Panel one picture of the file
 * @property {HTMLCanvasElement} photo @property {HTMLCanvasElement} map
 * @property {import("./sight.js").Sight} sight @property {string[]} lines title, then what is shown
 * @property {{row: number, column: number, grid: number[]}|null} asked patch to frame
 */

/**
 * Put pictures, maps, legends and titles on one canvas.
 * @param {Panel[]} panels @param {import("./state.js").View} view
 * @returns {Promise<Blob>} PNG
 */
export async function pngOf(panels, view) {
  const parts = panels.map((panel) => onePanel(panel, view));
  const width = parts.reduce((sum, part) => sum + part.width + EDGE, EDGE);
  const canvas = new OffscreenCanvas(width, Math.max(...parts.map((part) => part.height)) + 2 * EDGE);
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  let x = EDGE;
  for (const part of parts) {
    context.drawImage(part, x, EDGE);
    x += part.width + EDGE;
  }
  return canvas.convertToBlob({ type: "image/png" });
}

function onePanel({ photo, map, sight, lines, asked }, view) {
  const times = Math.max(1, Math.ceil(LEAST_WIDTH / photo.width));
  const [width, height] = [photo.width * times, photo.height * times];
  const canvas = new OffscreenCanvas(width, height + LINE * (lines.length + 3) + EDGE);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(photo, 0, 0, width, height);
  context.globalAlpha = view.opacity / 100;
  context.drawImage(map, 0, 0, width, height);
  context.globalAlpha = 1;
  if (asked) frame(context, asked, width, height);
  context.fillStyle = "#111111";
  context.font = "13px system-ui, sans-serif";
  let y = height + LINE;
  for (const line of lines) {
    context.fillText(line, 0, y, width);
    y += LINE;
  }
  bar(context, sight, view.style, width, y - LINE / 2);
  context.fillText(say(sight.low, sight.unit), 0, y + LINE + 4);
  context.textAlign = "right";
  context.fillText(say(sight.high, sight.unit), width, y + LINE + 4);
  context.textAlign = "center";
  context.fillText(legendText(sight), width / 2, y + LINE + 4, width - 140);
  return canvas;
}

function bar(context, sight, style, width, y) {
  const strip = document.createElement("canvas");
  const palette = paletteFor(sight.signed, style);
  paint(strip, BAR, [1, 256], 0, 255, palette);
  if (palette === PALETTES.light) {
    context.fillStyle = "#ffffff";
    context.fillRect(0, y, width, LINE - 4);
    context.fillStyle = "#111111";
  }
  context.drawImage(strip, 0, y, width, LINE - 4);
  const tick = tickAt(sight);
  if (tick === null) return;
  context.fillStyle = "#ffffff";
  context.fillRect(tick * width - 2, y, 4, LINE - 4);
  context.fillStyle = "#111111";
  context.fillRect(tick * width - 1, y, 2, LINE - 4);
}

function frame(context, { row, column, grid }, width, height) {
  const [tall, wide] = [height / grid[0], width / grid[1]];
  for (const [thick, colour] of [
    [5, "#000000"],
    [2, "#ffffff"],
  ]) {
    context.lineWidth = thick;
    context.strokeStyle = colour;
    context.strokeRect(column * wide + 2, row * tall + 2, wide - 4, tall - 4);
  }
}

/** Let the browser keep a file. @param {Blob} blob @param {string} name */
export function keep(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/**
 * @param {import("./subject.js").Subject} subject @param {import("./state.js").View} view
 * @returns {string} where the numbers behind the view are to be had
 */
export function npzAddress(subject, view) {
  const { model, picture } = subject;
  const what = shownView(model, view.view);
  const query = { model: model.id, picture, what };
  if (what === "attention" && model.layers > model.layers_at_once) query.layers = view.layer;
  if (what === "rollout") query.fusion = view.fusion;
  if (what === "attribution") query.method = methodFor(model, view.method);
  if (what === "attribution" || what === "patches") query.target = Math.max(subject.target(view), 0);
  return address("download.npz", query);
}
