/** All attention of one model for one picture, kept as the 16 bits that came. */

import { HALF } from "./packed.js";

/** The query that stands for the mean over all patches; other queries are numbers of tokens, from 0. */
export const MEAN_QUERY = -1;
/** The query that stands for attention pooling, where the model ends with it. */
export const POOL_QUERY = -2;
/** The head that stands for the mean over all heads; other heads are counted from 1. */
export const MEAN_HEAD = 0;

/** What everything attends to: layers and heads are counted from 1, tokens from 0 with the prefix first. */
export class Weights {
  /** @param {{layers: number, heads: number, grid: number[], prefix: string[]}} model */
  constructor(model) {
    this.layers = model.layers;
    this.heads = model.heads;
    this.prefix = model.prefix.length;
    this.patches = model.grid[0] * model.grid[1];
    this.tokens = this.prefix + this.patches;
    /** (heads, T, T) of each layer; null until it came. @type {(Uint16Array|null)[]} */
    this.parts = new Array(model.layers).fill(null);
    this.means = new Array(model.layers).fill(null);
    /** (heads, patches) what attention pooling takes of each patch. @type {Uint16Array|null} */
    this.pool = null;
    /** (layers, heads) mean attention distance, px; NaN until it came. */
    this.distance = new Float32Array(model.layers * model.heads).fill(NaN);
    this.uniform = NaN;
  }

  /**
   * Keep the layers of one answer.
   * @param {number} first number of its first layer
   * @param {import("./packed.js").Packed} packed
   */
  add(first, { arrays, meta }) {
    const [layers, heads, tokens] = arrays.weights.shape;
    if (heads !== this.heads || tokens !== this.tokens) throw new Error("attention of another shape than the model's");
    const size = heads * tokens * tokens;
    for (let i = 0; i < layers; i++) {
      this.parts[first - 1 + i] = arrays.weights.data.subarray(i * size, (i + 1) * size);
      this.means[first - 1 + i] = null;
    }
    this.distance.set(arrays.distance_px.data, (first - 1) * heads);
    this.uniform = meta.uniform_px;
    if (arrays.pool?.shape[0] === this.heads) this.pool = arrays.pool.data;
  }

  /** @param {number} layer @returns {boolean} */
  has(layer) {
    return Boolean(this.parts[layer - 1]);
  }

  /** Bytes held. */
  get bytes() {
    return this.parts.reduce((sum, part) => sum + (part ? part.byteLength : 0), 0);
  }

  /**
   * Where the row of a query is kept: `numbers[first + head * step + token]`, heads and tokens from 0.
   * @returns {{numbers: Uint16Array|Float32Array, first: number, step: number, half: boolean}|null} null: not there
   */
  rowOf(layer, query) {
    const part = this.parts[layer - 1];
    const { tokens, prefix } = this;
    if (query === POOL_QUERY) {
      return this.pool && { numbers: this.pool, first: -prefix, step: this.patches, half: true };
    }
    if (!part) return null;
    if (query === MEAN_QUERY) return { numbers: this.meanRows(layer), first: 0, step: tokens, half: false };
    return { numbers: part, first: query * tokens, step: tokens * tokens, half: true };
  }

  /**
   * Write what `query` gives to each patch into `shares`.
   * @param {number} layer
   * @param {number} head a number, or MEAN_HEAD
   * @param {number} query a token, MEAN_QUERY or POOL_QUERY
   * @param {Float32Array} shares (patches,), written
   * @returns {number} the largest of them; -1 when the layer has not come
   */
  read(layer, head, query, shares) {
    const row = this.rowOf(layer, query);
    if (!row) return -1;
    const { numbers, half } = row;
    const [from, to] = this.headRange(head);
    shares.fill(0);
    for (let one = from; one < to; one++) {
      const at = row.first + one * row.step + this.prefix;
      if (half) for (let i = 0; i < shares.length; i++) shares[i] += HALF[numbers[at + i]];
      else for (let i = 0; i < shares.length; i++) shares[i] += numbers[at + i];
    }
    let largest = 0;
    for (let i = 0; i < shares.length; i++) {
      shares[i] /= to - from;
      if (shares[i] > largest) largest = shares[i];
    }
    return largest;
  }

  /**
   * What `query` gives to one token.
   * @returns {number} share; NaN when the layer has not come
   */
  share(layer, head, query, token) {
    const row = this.rowOf(layer, query);
    if (!row || (query === POOL_QUERY && token < this.prefix)) return NaN;
    const [from, to] = this.headRange(head);
    let sum = 0;
    for (let one = from; one < to; one++) {
      const number = row.numbers[row.first + one * row.step + token];
      sum += row.half ? HALF[number] : number;
    }
    return sum / (to - from);
  }

  /** The largest share that any head of any layer gives to a patch. @param {number} query */
  largest(query) {
    let found = 0;
    for (let layer = 1; layer <= (query === POOL_QUERY ? 1 : this.layers); layer++) {
      const row = this.rowOf(layer, query);
      if (!row) continue;
      let most = 0; // shares are not negative, so that their 16 bits are in their order
      for (let one = 0; one < this.heads; one++) {
        const at = row.first + one * row.step + this.prefix;
        for (let i = at; i < at + this.patches; i++) if (row.numbers[i] > most) most = row.numbers[i];
      }
      found = Math.max(found, row.half ? HALF[most] : most);
    }
    return found;
  }

  headRange(head) {
    return head === MEAN_HEAD ? [0, this.heads] : [head - 1, head];
  }

  /** (heads, T): mean over the patches as queries, made once. */
  meanRows(layer) {
    const kept = this.means[layer - 1];
    if (kept) return kept;
    const part = this.parts[layer - 1];
    const { heads, tokens, prefix, patches } = this;
    const rows = new Float32Array(heads * tokens);
    for (let head = 0; head < heads; head++) {
      for (let query = prefix; query < tokens; query++) {
        const at = (head * tokens + query) * tokens;
        for (let key = 0; key < tokens; key++) rows[head * tokens + key] += HALF[part[at + key]];
      }
    }
    for (let i = 0; i < rows.length; i++) rows[i] /= patches;
    return (this.means[layer - 1] = rows);
  }

  /** (layer, head, px) of every head that has come, in order of layer and head. */
  distances() {
    const found = [];
    this.distance.forEach((px, i) => {
      if (!Number.isNaN(px)) found.push({ layer: Math.floor(i / this.heads) + 1, head: (i % this.heads) + 1, px });
    });
    return found;
  }
}
