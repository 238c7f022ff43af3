/** One model looking at one picture: all that the server said about it, each thing asked for once. */

import { getImage, getJson, getPacked } from "./api.js";
import { Weights } from "./weights.js";

const TOP = 20;

/**
 * @typedef {Object} Model as /api/state describes it
 * @property {string} id @property {string} name @property {string} kind
 * @property {number[]} image_size @property {number[]} cell_px @property {number[]} grid rows, columns
 * @property {number} layers @property {number} heads @property {string[]} prefix @property {string} pool
 * @property {number} classes @property {boolean} attention @property {string[]} methods
 * @property {number} parameters @property {number} layers_at_once of attention, in one answer
 */

/** What is known of a model and a picture. */
export class Subject {
  /**
   * @param {Model} model @param {string} picture id
   * @param {(name: string) => void} arrived called when something came or failed
   */
  constructor(model, picture, arrived) {
    this.model = model;
    this.picture = picture;
    this.arrived = arrived;
    this.kept = new Map();
    this.faults = new Map();
    this.waiting = new Set();
    this.stop = new AbortController();
    /** @type {ImageBitmap|null} */ this.image = null;
    /** @type {{labels: {index: number, class: string, logit: number, probability: number}[]}|null} */
    this.answer = null;
    this.weights = model.attention ? new Weights(model) : null;
  }

  /** Ask for picture, prediction and attention at once. */
  load() {
    const query = { model: this.model.id, picture: this.picture };
    this.once("image", async (signal) => (this.image = await getImage(this.picture, this.model.id, signal)));
    this.once("predict", async (signal) => (this.answer = await getJson("predict", { ...query, top: TOP }, signal)));
    if (this.weights) this.once("attention", (signal) => this.loadWeights(query, signal));
  }

  /** Bring all layers in ascending order, as many in one answer as the server likes: it goes on where it was. */
  async loadWeights(query, signal) {
    const { layers, layers_at_once: step } = this.model;
    for (let first = 1; first <= layers; first += step) {
      const range = `${first}-${Math.min(first + step - 1, layers)}`;
      this.weights.add(first, await getPacked("attention", { ...query, layers: range }, signal));
      this.arrived("attention");
    }
    return this.weights;
  }

  /** @returns {{matrix: Uint16Array}|undefined} (T, T) token at the end, token at the start */
  rollout(fusion) {
    return this.packed("rollout", { fusion }, ({ arrays }) => ({ matrix: arrays.matrix.data }));
  }

  /**
   * The map at once; what it is worth comes with `verdict`.
   * @returns {{map: Float32Array, size: number[], meta: Object}|undefined}
   */
  attribution(method, target) {
    const read = ({ arrays, meta }) => ({ map: arrays.map.data, size: arrays.map.shape, meta });
    return this.packed("attribution", { method, target, curves: 0 }, read);
  }

  /** @returns {{curves: Object, explains: boolean}|undefined} deletion and insertion, once the map is there */
  verdict(method, target) {
    if (!this.knows(method, target)) return undefined;
    return this.packed("attribution", { method, target, curves: 1 }, ({ meta }) => meta);
  }

  /** @returns {{maps: Float32Array, size: number[], names: string[], meta: Object}|undefined} */
  receptive() {
    return this.packed("receptive", {}, ({ arrays, meta }) => stack(arrays.maps, meta));
  }

  /** @returns {{maps: Float32Array, size: number[], names: string[], meta: Object}|undefined} */
  patches(target) {
    return this.packed("patches", { target }, ({ arrays, meta }) => stack(arrays.map, meta));
  }

  /**
   * The class asked about: the one chosen for this model, or the most probable; -1 while that is unknown.
   * @param {import("./state.js").View} view
   */
  target(view) {
    const chosen = this.model.id === view.model ? view.target : view.other;
    if (chosen >= 0 && chosen < this.model.classes) return chosen;
    return this.answer?.labels[0]?.index ?? -1;
  }

  /** Whether this thing was asked for and has not come. @param {string} prefix of its name */
  awaits(prefix) {
    return [...this.waiting].some((name) => name.startsWith(prefix));
  }

  /** @param {string} prefix @returns {string} the fault in one line, or "" */
  fault(prefix) {
    for (const [name, { message }] of this.faults) if (name.startsWith(prefix)) return message;
    return "";
  }

  /** @returns {boolean} whether an attribution was measured */
  knows(method, target) {
    return this.kept.has(keyOf("attribution", { method, target, curves: 0 }));
  }

  /** What came of a question, without asking it. @param {string} path @param {Object} query */
  peek(path, query) {
    return this.kept.get(keyOf(path, query));
  }

  /** Stop waiting, and let go of the memory. */
  close() {
    this.stop.abort();
    this.image?.close();
  }

  packed(path, query, read) {
    const full = { model: this.model.id, picture: this.picture, ...query };
    return this.once(keyOf(path, query), async (signal) => read(await getPacked(path, full, signal)));
  }

  /** Return what `make` made, or start making it; a fault is kept and not tried again until `retry`. */
  once(name, make) {
    if (this.kept.has(name)) return this.kept.get(name);
    if (this.waiting.has(name) || this.faults.has(name)) return undefined;
    this.waiting.add(name);
    const { signal } = this.stop;
    const done = () => {
      this.waiting.delete(name);
      if (!signal.aborted) this.arrived(name);
    };
    make(signal)
      .then(
        (value) => this.kept.set(name, value),
        (error) => this.faults.set(name, error),
      )
      .then(done);
    return undefined;
  }

  /** Forget the faults, so that all is asked for again. */
  retry() {
    this.faults.clear();
    this.load();
  }
}

function keyOf(path, query) {
  return [path, ...Object.values(query)].join(" ");
}

function stack(array, meta) {
  const [count, rows, columns] = array.shape;
  const names = meta.layers ?? Array.from({ length: count }, (_, i) => `layer ${i + 1}`);
  return { maps: array.data, size: [rows, columns], names, meta };
}
