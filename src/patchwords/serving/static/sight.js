/** What is to be seen over a picture: one map with its unit and range, for a view and a query. */

import { depthNames, sameDepth, shownView } from "./depth.js";
import { HALF } from "./packed.js";
import { FUSIONS, patchAt } from "./state.js";
import { MEAN_QUERY, POOL_QUERY } from "./weights.js";

/**
 * @typedef {Object} Sight
 * @property {Float32Array} values (rows * columns)
 * @property {number[]} size rows, columns
 * @property {number} low value of the first colour
 * @property {number} high value of the last colour
 * @property {boolean} signed for and against
 * @property {string} unit of the values; "share" and "probability" are said in per cent
 * @property {string} of what the values are shares of, or their unit in words, for the legend
 * @property {number} uniform value of a map that is the same everywhere; NaN: says nothing
 * @property {boolean} root colour goes with the square root of the value
 */

const POOLING = "pooling";
const WAITING = { receptive: "Measuring how far each layer sees …", patches: "Reading every patch …" };
const kept = new Map();

/**
 * The map of one model, or why there is none.
 * @param {import("./subject.js").Subject} subject @param {import("./state.js").View} view
 * @param {import("./state.js").Query} query
 * @param {number} layer in this model
 * @returns {Sight|string} a sentence when there is nothing to draw
 */
export function sightOf(subject, view, query, layer) {
  const kind = shownView(subject.model, view.view);
  const target = subject.target(view);
  if (kind === "attention") return attention(subject, view, query, layer);
  if (kind === "rollout") return rollout(subject, view.fusion, query, view.scale);
  if (kind === "receptive") return layered(subject, subject.receptive(), "receptive", layer, view.scale);
  if (target < 0) return subject.fault("predict") || "Waiting for the prediction …";
  if (kind === "patches") return layered(subject, subject.patches(target), "patches", layer, view.scale);
  return attribution(subject, methodFor(subject.model, view.method), target, view.grain);
}

/** Give maps of one unit the same ends. @param {(Sight|string)[]} sights changed in place */
export function shareScale(sights) {
  const drawn = sights.filter((sight) => typeof sight !== "string");
  if (new Set(drawn.map(({ unit, signed }) => `${unit} ${signed}`)).size !== 1) return;
  const high = Math.max(...drawn.map((sight) => sight.high));
  for (const sight of drawn) {
    sight.high = high;
    if (sight.signed) sight.low = -high;
  }
}

/** The layer of `subject` at the depth chosen for `first`. */
export function layerFor(subject, first, view) {
  const attends = shownView(first.model, view.view) === "attention";
  if (subject === first) return attends ? Math.min(view.layer, first.model.layers) : view.layer;
  return sameDepth(view.layer, depthNames(first, view).length, depthNames(subject, view).length);
}

/** The method chosen, or the first that the model allows. */
export function methodFor(model, method) {
  return model.methods.includes(method) ? method : model.methods[0];
}

/** The head chosen, or the mean where the model has no such head. */
export function headFor(model, head) {
  return head <= model.heads ? head : 0;
}

/**
 * Number of the token that a query means; POOL_QUERY; or MEAN_QUERY where the model has no such token.
 * @param {import("./subject.js").Model} model @param {import("./state.js").Query} query
 */
export function tokenOf(model, query) {
  const patch = patchAt(query, model.grid);
  if (patch) return model.prefix.length + patch.number;
  if (query.token === POOLING && model.pool === "map") return POOL_QUERY;
  const number = model.prefix.indexOf(query.token);
  return number >= 0 ? number : MEAN_QUERY;
}

/** The tokens one can ask by name. @param {import("./subject.js").Model} model @returns {string[]} */
export function askable(model) {
  return [...model.prefix, ...(model.pool === "map" ? [POOLING] : []), "mean"];
}

/** The query in words. */
export function queryName(model, query) {
  const patch = patchAt(query, model.grid);
  if (tokenOf(model, query) === POOL_QUERY) return "attention pooling";
  if (patch) return `row ${patch.row + 1}, column ${patch.column + 1}`;
  const name = model.prefix.includes(query.token) ? query.token : "mean";
  if (name === "mean") return "mean of all patches";
  return /register/.test(name) ? name : `${name} token`;
}

function attention(subject, view, query, layer) {
  const { weights, model } = subject;
  if (!weights.has(layer)) return subject.fault("attention") || `Waiting for the attention of layer ${layer} …`;
  const token = tokenOf(model, query);
  const values = scratch(subject, "attention", weights.patches);
  const largest = weights.read(layer, headFor(model, view.head), token, values);
  const high = view.scale === "common" ? weights.largest(token) : largest;
  return shares(values, model.grid, high, "attention", 1 / weights.tokens);
}

function rollout(subject, fusion, query, scale) {
  const found = subject.rollout(fusion);
  if (!found) return subject.fault(`rollout ${fusion}`) || "Multiplying the attention of all layers …";
  const { model } = subject;
  const token = tokenOf(model, query);
  const values = scratch(subject, `rollout ${fusion}`, model.grid[0] * model.grid[1]);
  let high = readRollout(found.matrix, model, token, values);
  if (scale === "common") {
    const other = scratch(subject, "rollout", values.length);
    for (const each of FUSIONS) {
      const beside = each !== fusion && subject.rollout(each);
      if (beside) high = Math.max(high, readRollout(beside.matrix, model, token, other));
    }
  }
  return shares(values, model.grid, high, "the answer", 1 / (model.prefix.length + values.length));
}

/** Write one row of the rollout into `values`; return its largest. */
function readRollout(matrix, model, token, values) {
  const prefix = model.prefix.length;
  const tokens = prefix + values.length;
  const [first, last] = token < 0 ? [prefix, tokens] : [token, token + 1];
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    let sum = 0;
    for (let row = first; row < last; row++) sum += HALF[matrix[row * tokens + prefix + i]];
    values[i] = sum / (last - first);
    if (values[i] > largest) largest = values[i];
  }
  return largest;
}

function attribution(subject, method, target, grain) {
  if (!method) return "This model allows no attribution.";
  const found = subject.attribution(method, target);
  if (!found) return subject.fault(`attribution ${method} ${target} `) || "Asking what speaks for the class …";
  const { grid } = subject.model;
  const [values, size] = grain === "pixel" ? [found.map, found.size] : [(found.coarse ??= byPatch(found, grid)), grid];
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const signed = low < 0;
  const far = Math.max(Math.abs(low), Math.abs(high));
  const ends = { low: signed ? -far : 0, high: signed ? far : high, signed };
  return { values, size, ...ends, unit: "", of: found.meta.unit, uniform: NaN, root: false };
}

function layered(subject, stack, kind, layer, scale) {
  if (!stack) return subject.fault(kind) || WAITING[kind];
  const count = stack.size[0] * stack.size[1];
  const number = Math.min(layer, stack.names.length) - 1;
  const values = stack.maps.subarray(number * count, (number + 1) * count);
  const high = largestOf(scale === "common" ? stack.maps : values);
  if (kind === "patches") {
    return { ...shares(values, stack.size, high, "", NaN), unit: "probability", low: 0 };
  }
  return { ...shares(values, stack.size, high, "the gradient, by pixel", 1 / count), root: true };
}

/** A map summed over each patch. */
function byPatch({ map, size }, grid) {
  const sums = new Float32Array(grid[0] * grid[1]);
  for (let row = 0; row < size[0]; row++) {
    const down = Math.floor((row * grid[0]) / size[0]) * grid[1];
    for (let column = 0; column < size[1]; column++) {
      sums[down + Math.floor((column * grid[1]) / size[1])] += map[row * size[1] + column];
    }
  }
  return sums;
}

/** The value of a map in one patch: the sum of its pixels where the map is finer. @returns {number} */
export function valueIn({ values, size }, patch, grid) {
  let sum = 0;
  const [tall, wide] = [size[0] / grid[0], size[1] / grid[1]];
  for (let row = Math.floor(patch.row * tall); row < Math.floor((patch.row + 1) * tall); row++) {
    for (let column = Math.floor(patch.column * wide); column < Math.floor((patch.column + 1) * wide); column++) {
      sum += values[row * size[1] + column];
    }
  }
  return sum;
}

function largestOf(values) {
  let largest = 0;
  for (let i = 0; i < values.length; i++) if (values[i] > largest) largest = values[i];
  return largest;
}

function shares(values, size, high, of, uniform) {
  return { values, size, low: 0, high, signed: false, unit: "share", of, uniform, root: false };
}

/** An array for the map of one subject that is written over by the next query. */
function scratch(subject, name, count) {
  const key = `${subject.model.id} ${name} ${count}`;
  if (!kept.has(key)) kept.set(key, new Float32Array(count));
  return kept.get(key);
}
