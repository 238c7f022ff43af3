/** The numbers under the pointer, in a sentence. */

import { className } from "./captions.js";
import { readable, shownView } from "./depth.js";
import { say } from "./scale.js";
import { headFor, queryName, tokenOf, valueIn } from "./sight.js";
import { patchAt } from "./state.js";
import { MEAN_QUERY } from "./weights.js";

const TOUCH = matchMedia("(hover: none)").matches;

/**
 * What the map says of the patch that is asked, or under the pointer.
 * @param {import("./subject.js").Subject} subject @param {import("./state.js").View} view
 * @param {import("./sight.js").Sight|string} sight
 * @param {{query: import("./state.js").Query, under: Object|null, held: boolean, layer: number}} at
 * @returns {string}
 */
export function readout(subject, view, sight, at) {
  if (typeof sight === "string") return "";
  const kind = shownView(subject.model, view.view);
  const instead = kind === view.view ? "" : "No attention in this model: its receptive field is shown. ";
  if (kind === "attention" || kind === "rollout") return asked(subject, view, sight, at, kind);
  const text = kind === "receptive" ? reach(subject, at.layer) : about(subject, view);
  const place = at.under ?? ("token" in at.query ? null : at.query);
  if (!place) return instead + text;
  const { grid } = subject.model;
  const value = say(valueIn(sight, patchAt(place, grid), grid), sight.unit);
  return `${instead}${capital(placeName(place, grid))}: ${value}. ${text}`;
}

function asked(subject, view, sight, { query, under, held, layer }, kind) {
  const { model, weights } = subject;
  let best = 0;
  for (let i = 1; i < sight.values.length; i++) if (sight.values[i] > sight.values[best]) best = i;
  const columns = model.grid[1];
  const most = `row ${Math.floor(best / columns) + 1}, column ${(best % columns) + 1}`;
  const own = patchAt(query, model.grid);
  const itself = own?.number === best;
  const share = say(sight.values[best], "share");
  const verb = kind === "attention" ? "looks most at" : "is mostly made of";
  const parts = [`${capital(queryName(model, query))} ${verb} ${itself ? "itself" : most} (${share})`];
  if (own && !itself)
    parts.push(`${kind === "attention" ? "at" : "of"} itself ${say(sight.values[own.number], "share")}`);
  if (kind === "attention") parts.push(...prefixShares(weights, model, layer, headFor(model, view.head), query));
  let text = `${parts.join(", ")}.`;
  if (under && held) {
    const given = sight.values[patchAt(under, model.grid).number];
    text += ` It gives ${placeName(under, model.grid)} ${say(given, "share")}.`;
  } else if (held && !TOUCH) text += " Held: click it again or press Esc to let go.";
  else if (under && kind === "attention") text += ` ${fromToken(subject, view, under, layer)}`;
  return text;
}

/** What goes to class token, distillation token and registers (these together). */
function prefixShares(weights, model, layer, head, query) {
  const token = tokenOf(model, query);
  let registers = 0;
  const told = [];
  model.prefix.forEach((name, number) => {
    const share = weights.share(layer, head, token, number);
    if (name.startsWith("register")) registers += share;
    else told.push(`at ${number === token ? "itself" : `the ${name} token`} ${say(share, "share")}`);
  });
  if (model.prefix.some((name) => name.startsWith("register")))
    told.push(`at the registers ${say(registers, "share")}`);
  return told;
}

/** The other direction: what the token chosen before gives to the patch under the pointer. */
function fromToken({ model, weights }, view, under, layer) {
  if (!("token" in view.query)) return "";
  const token = tokenOf(model, view.query);
  const number = model.prefix.length + patchAt(under, model.grid).number;
  const share = weights.share(layer, headFor(model, view.head), token, number);
  const who = token === MEAN_QUERY ? "On average a patch" : capital(queryName(model, view.query));
  return `${who} gives it ${say(share, "share")}.`;
}

function about(subject, view) {
  return `Asked about ${className(subject, subject.target(view))}; hover a patch to read its value.`;
}

function reach(subject, layer) {
  const { names, meta } = subject.receptive();
  const i = Math.min(layer, names.length) - 1;
  const radii = `half of it within ${say(meta.radius50_px[i], "px")}, 90 % within ${say(meta.radius90_px[i], "px")}`;
  const even = meta.uniform_radius50_px ? ` (an even one: ${say(meta.uniform_radius50_px, "px")})` : "";
  return `What moves the centre token of ${readable(names[i])}: ${radii}${even}.`;
}

function placeName(place, grid) {
  const { row, column } = patchAt(place, grid);
  return `row ${row + 1}, column ${column + 1}`;
}

function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}
