/** What is shown, in one line: for saved pictures and for those who hear the page. */

import { depthNames, shownView } from "./depth.js";
import { methodName } from "./methods.js";
import { headFor, methodFor, queryName } from "./sight.js";

/**
 * @param {import("./subject.js").Subject} subject @param {import("./state.js").View} view
 * @param {import("./state.js").Query} query @param {number} layer in this model
 * @returns {string} such as "attention, layer 3, head 2, row 4, column 7"
 */
export function caption(subject, view, query, layer) {
  const { model } = subject;
  const kind = shownView(model, view.view);
  const target = className(subject, subject.target(view));
  const depth = depthNames(subject, view)[layer - 1] ?? "";
  const who = queryName(model, query);
  const head = headFor(model, view.head);
  switch (kind) {
    case "attention":
      return `attention, ${depth}, ${head ? `head ${head}` : "mean of heads"}, ${who}`;
    case "rollout":
      return `rollout (${view.fusion} of heads), ${who}`;
    case "attribution":
      return `what speaks for ${target}, ${methodName(methodFor(model, view.method))}`;
    case "patches":
      return `${target} from each patch alone, ${depth}`;
    default:
      return `receptive field, ${depth}`;
  }
}

/** The name of a class where it is known. @param {import("./subject.js").Subject} subject @param {number} target */
export function className(subject, target) {
  if (target < 0) return "";
  return subject.answer?.labels.find(({ index }) => index === target)?.class ?? `class ${target}`;
}
