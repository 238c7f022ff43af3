/** Layers by name, and the same depth in two models. */

/**
 * Names of the maps one can drag through.
 * @param {import("./subject.js").Subject} subject @param {import("./state.js").View} view
 * @returns {string[]} empty where depth means nothing, or while it is unknown
 */
export function depthNames(subject, view) {
  const kind = shownView(subject.model, view.view);
  if (kind === "attention") return Array.from({ length: subject.model.layers }, (_, i) => `layer ${i + 1}`);
  const target = subject.target(view);
  const stack =
    kind === "receptive" ? subject.receptive() : kind === "patches" && target >= 0 && subject.patches(target);
  return stack ? stack.names.map(readable) : [];
}

/**
 * What is shown of a model: the view, or the receptive field where the model has no attention.
 * @param {import("./subject.js").Model} model @param {string} view
 */
export function shownView(model, view) {
  return !model.attention && ["attention", "rollout"].includes(view) ? "receptive" : view;
}

/** A name of the record in words: layers count from 1, as in the paper. @param {string} name */
export function readable(name) {
  const block = /^block(\d+)(\/[+\w]+)?$/.exec(name);
  if (block) return `layer ${Number(block[1]) + 1}${block[2] === "/attn" ? ", its attention alone" : ""}`;
  return { embed: "patch embedding", encoded: "last norm", features: "features" }[name] ?? name;
}

/**
 * The layer at the same depth in another model.
 * @param {number} layer from 1 @param {number} count layers here @param {number} other layers there
 */
export function sameDepth(layer, count, other) {
  if (count === other || !count || !other) return Math.min(layer, Math.max(other, 1));
  return 1 + Math.round(((layer - 1) / Math.max(count - 1, 1)) * (other - 1));
}

/** The map in `names` that belongs to what `name` belonged to, from 1. */
export function matchDepth(name, names, fallback) {
  const found = names.indexOf(name);
  return found >= 0 ? found + 1 : Math.min(Math.max(fallback, 1), Math.max(names.length, 1));
}
