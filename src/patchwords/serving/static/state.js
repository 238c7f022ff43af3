/** What is looked at, and how: one plain object, kept in the address of the page. */

/**
 * @typedef {{token: string}|{y: number, x: number}} Query a token by name ("class", "register 1", "mean"), or a place
 *   in the picture in 0..1, so that models of other grids can be asked about the same place
 *
 * @typedef {Object} View
 * @property {string} model id
 * @property {string} compare id of the model beside it, or ""
 * @property {string} picture id, or ""
 * @property {number} layer from 1; counts the maps of the view where it is not attention
 * @property {number} head from 1; 0 is the mean over heads
 * @property {Query} query
 * @property {string} view one of VIEWS
 * @property {string} method of attribution
 * @property {number} target class asked about, or -1 for the most probable
 * @property {number} other the same for the model beside it, whose classes may be others
 * @property {string} fusion how rollout makes one head of many
 * @property {string} scale "own" or "common"
 * @property {string} style "colours" or "light"
 * @property {string} grain "patch" or "pixel": attributions that are finer than the patches, summed or not
 * @property {number} opacity per cent
 */

export const VIEWS = ["attention", "rollout", "attribution", "patches", "receptive"];
export const FUSIONS = ["mean", "max", "min"];

/** @type {View} */
export const START = {
  model: "",
  compare: "",
  picture: "",
  layer: 1,
  head: 0,
  query: { token: "class" },
  view: "attention",
  method: "",
  target: -1,
  other: -1,
  fusion: "mean",
  scale: "own",
  style: "colours",
  grain: "patch",
  opacity: 60,
};

const CHOICES = {
  view: VIEWS,
  fusion: FUSIONS,
  scale: ["own", "common"],
  style: ["colours", "light"],
  grain: ["patch", "pixel"],
};

/**
 * Write a view as the hash of an address; only what differs from `usual`.
 * @param {View} view @param {number[]} grid rows, columns of the first model @param {View} usual
 */
export function toHash(view, grid, usual) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) {
    const always = name === "picture" && value;
    if (!always && JSON.stringify(value) === JSON.stringify(usual[name])) continue;
    if (name === "query") parts.set(name, queryText(value, grid));
    else if (name === "head") parts.set(name, value ? String(value) : "mean");
    else parts.set(name, String(value));
  }
  return `#${parts}`;
}

/**
 * Read a hash; whatever it does not say, or says wrongly, is as in `usual`.
 * @param {string} hash @param {(model: string) => number[]} gridOf rows, columns of a model
 * @param {View} usual
 * @returns {View}
 */
export function fromHash(hash, gridOf, usual) {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const view = { ...usual };
  for (const name of ["model", "compare", "picture", "method"]) view[name] = parts.get(name) ?? usual[name];
  for (const [name, allowed] of Object.entries(CHOICES)) {
    if (allowed.includes(parts.get(name))) view[name] = parts.get(name);
  }
  for (const name of ["layer", "head", "target", "other", "opacity"]) {
    const text = parts.get(name);
    if (text === "mean") view.head = 0;
    else if (text !== null && /^\d{1,6}$/.test(text)) view[name] = Number(text);
  }
  view.opacity = Math.min(view.opacity, 100);
  view.layer = Math.max(view.layer, 1);
  if (parts.has("query")) view.query = readQuery(parts.get("query"), gridOf(view.model)) ?? usual.query;
  return view;
}

/** Row and column count from 1, as everywhere on the page. */
function queryText(query, [rows, columns]) {
  if ("token" in query) return query.token;
  return `${Math.floor(query.y * rows) + 1},${Math.floor(query.x * columns) + 1}`;
}

function readQuery(text, [rows, columns]) {
  const place = /^(\d{1,4}),(\d{1,4})$/.exec(text);
  if (!place) return /^[a-z]+( \d{1,3})?$/.test(text) ? { token: text } : null;
  const [row, column] = [Number(place[1]), Number(place[2])];
  if (row < 1 || row > rows || column < 1 || column > columns) return null;
  return placeOf(row - 1, column - 1, [rows, columns]);
}

/**
 * The middle of a patch as a place in the picture.
 * @param {number} row from 0 @param {number} column from 0 @param {number[]} grid
 * @returns {Query}
 */
export function placeOf(row, column, [rows, columns]) {
  return { y: (row + 0.5) / rows, x: (column + 0.5) / columns };
}

/**
 * The patch at a place, in the grid of one model.
 * @param {Query} query @param {number[]} grid
 * @returns {{row: number, column: number, number: number}|null} from 0; null for a token of the prefix
 */
export function patchAt(query, [rows, columns]) {
  if ("token" in query) return null;
  const row = Math.min(Math.floor(query.y * rows), rows - 1);
  const column = Math.min(Math.floor(query.x * columns), columns - 1);
  return { row, column, number: row * columns + column };
}

/** The view, those who want to know when it changes, and the address that follows it. */
export class Store {
  /** @param {View} view @param {(view: View, changed: Set<string>) => void} onChange */
  constructor(view, onChange) {
    this.view = view;
    this.onChange = onChange;
  }

  /**
   * Change some of the view. `step` writes a step that the back button undoes; otherwise the address is replaced.
   * @param {Partial<View>} part @param {{step?: boolean}} [options]
   */
  set(part, { step = false } = {}) {
    const names = Object.keys(part).filter((name) => JSON.stringify(part[name]) !== JSON.stringify(this.view[name]));
    if (!names.length) return;
    this.view = { ...this.view, ...part };
    this.onChange(this.view, new Set(names), step);
  }
}
