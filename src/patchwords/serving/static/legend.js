/** What the colours mean: the scale with its ends in the unit of the map. */

import { make, tell } from "./element.js";
import { paint } from "./overlay.js";
import { paletteFor, say } from "./scale.js";

const STEPS = Float32Array.from({ length: 256 }, (_, i) => i);

/** A bar of all colours, its ends, and a tick where an even map would be. */
export class Legend {
  constructor() {
    this.bar = make("canvas", { class: "bar", width: 256, height: 1 });
    this.tick = make("span", { class: "tick" });
    this.low = make("span", { class: "low" });
    this.high = make("span", { class: "high" });
    this.what = make("span", { class: "what" });
    const scale = make("div", { class: "scale" }, this.bar, this.tick);
    this.element = make("div", { class: "legend" }, this.low, scale, this.high, this.what);
  }

  /** @param {import("./sight.js").Sight|string} sight @param {string} style */
  show(sight, style) {
    const nothing = typeof sight === "string";
    this.element.classList.toggle("none", nothing);
    if (nothing) return;
    const palette = paletteFor(sight.signed, style);
    if (palette !== this.palette) paint(this.bar, STEPS, [1, 256], 0, 255, (this.palette = palette));
    tell(this.low, say(sight.low, sight.unit));
    tell(this.high, say(sight.high, sight.unit));
    tell(this.what, legendText(sight));
    const part = tickAt(sight);
    this.tick.classList.toggle("shown", part !== null);
    if (part !== null) this.tick.style.transform = `translateX(${100 * part}%)`;
  }
}

/**
 * Where on the scale an even map would be.
 * @param {import("./sight.js").Sight} sight @returns {number|null} 0..1; null: not on it
 */
export function tickAt({ uniform, low, high, root }) {
  const part = (uniform - low) / (high - low);
  return part > 0 && part <= 1 ? (root ? Math.sqrt(part) : part) : null;
}

/** The legend's words. @param {import("./sight.js").Sight} sight */
export function legendText({ unit, of, uniform, root, signed }) {
  if (signed) return `${of}: against it … for it`;
  const what = unit === "share" ? `share of ${of}` : unit === "probability" ? "probability of the class" : of;
  const even = Number.isFinite(uniform) ? `; tick: ${say(uniform, unit)}, if all were alike` : "";
  return `${what}${even}${root ? "; colour by square root" : ""}`;
}
