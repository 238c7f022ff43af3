/** Mean attention distance of every head by depth (the paper's figure 7, right). */

import { draw } from "./element.js";
import { figures } from "./scale.js";

const HEIGHT = 170;
const [LEFT, RIGHT, TOP, BOTTOM] = [34, 8, 8, 24];

/**
 * @param {HTMLElement} host
 * @param {import("./weights.js").Weights} weights
 * @param {{layer: number, head: number}} chosen
 * @param {(part: {layer: number, head: number}) => void} choose
 */
export function plotDistances(host, weights, chosen, choose) {
  const heads = weights.distances();
  if (!heads.length) return host.replaceChildren();
  const top = Math.max(weights.uniform * 1.15, ...heads.map(({ px }) => px * 1.05)) || 1;
  const width = Math.max(host.clientWidth, 280);
  const step = (width - LEFT - RIGHT) / weights.layers;
  const x = (layer) => LEFT + (layer - 0.5) * step;
  const y = (px) => TOP + (1 - px / top) * (HEIGHT - TOP - BOTTOM);
  const parts = [...axes(weights, top, width, x, y), ...uniform(weights.uniform, width, y)];
  for (const { layer, head, px } of heads) {
    const shift = (head / (weights.heads + 1) - 0.5) * step * 0.6;
    const now = layer === chosen.layer && head === chosen.head;
    const near = layer === chosen.layer ? " near" : "";
    const told = { cx: x(layer) + shift, cy: y(px), r: now ? 5.5 : 3.5, class: now ? "dot now" : `dot${near}` };
    const title = draw("title", { text: `layer ${layer}, head ${head}: ${px.toFixed(1)} px` });
    parts.push(draw("circle", { ...told, on: { click: () => choose({ layer, head }) } }, title));
  }
  const label = "Mean attention distance in pixels of every head, by layer; the same numbers are in the list below";
  host.replaceChildren(draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label }, ...parts));
}

function axes(weights, top, width, x, y) {
  const parts = [];
  const unit = niceStep(top / 3);
  for (let px = 0; px <= top; px += unit) {
    parts.push(draw("line", { x1: LEFT, x2: width - RIGHT, y1: y(px), y2: y(px), class: "rule" }));
    parts.push(draw("text", { x: LEFT - 5, y: y(px) + 3.5, class: "end", text: String(Number(px.toPrecision(3))) }));
  }
  const each = Math.ceil(weights.layers / 12);
  for (let layer = 1; layer <= weights.layers; layer += each) {
    parts.push(draw("text", { x: x(layer), y: HEIGHT - BOTTOM + 13, class: "middle", text: layer }));
  }
  parts.push(draw("text", { x: width - RIGHT, y: HEIGHT - 1, class: "end", text: "layer" }));
  parts.push(draw("text", { x: 2, y: HEIGHT - 1, text: "px, mean distance" }));
  return parts;
}

function uniform(px, width, y) {
  if (!Number.isFinite(px)) return [];
  return [
    draw("line", { x1: LEFT, x2: width - RIGHT, y1: y(px), y2: y(px), class: "uniform" }),
    draw("text", { x: width - RIGHT, y: y(px) - 4, class: "end", text: `even attention ${figures(px)} px` }),
  ];
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((times) => times * power >= value) * power;
}
