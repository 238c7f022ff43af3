/** Small maps in a row or a list, each a button, all following the query. */

import { make, tell } from "./element.js";
import { paint, wipe } from "./overlay.js";

/**
 * @typedef {Object} Item
 * @property {string} key one of a kind
 * @property {string} label beneath the map
 * @property {string} [note] beneath the label
 * @property {string} title for those who hear the page
 * @property {Object} part what choosing it changes in the view
 * @property {Object} what handed to the reader of the map
 */

/** Buttons with a small map each. */
export class Thumbs {
  /** @param {HTMLElement} host @param {(part: Object) => void} choose */
  constructor(host, choose) {
    this.host = host;
    this.choose = choose;
    this.buttons = new Map();
    this.order = "";
    const seen = (entries) => entries.forEach(({ target, isIntersecting }) => (target.inSight = isIntersecting));
    this.watch = new IntersectionObserver(
      (entries) => {
        seen(entries);
        this.redraw?.();
      },
      { rootMargin: "80px" },
    );
  }

  /**
   * Show these items in this order.
   * @param {Item[]} items @param {string} chosen key @param {number[]} size rows, columns of the maps
   */
  show(items, chosen, size) {
    const order = items.map(({ key }) => key).join(" ");
    if (order !== this.order) this.arrange(items, order);
    this.host.style.setProperty("--shape", `${size[1]} / ${size[0]}`);
    for (const item of items) {
      const button = this.buttons.get(item.key);
      button.item = item;
      tell(button.label, item.label);
      tell(button.note, item.note ?? "");
      button.setAttribute("aria-label", item.title);
      button.setAttribute("aria-pressed", String(item.key === chosen));
    }
  }

  /**
   * Draw those in sight.
   * @param {(what: Object) => ({values: Float32Array, size: number[], high: number}|null)} read
   * @param {import("./scale.js").Palette} palette
   */
  draw(read, palette) {
    this.redraw = () => this.draw(read, palette);
    for (const button of this.buttons.values()) {
      if (!button.inSight) continue;
      const found = read(button.item.what);
      if (found) paint(button.canvas, found.values, found.size, 0, found.high, palette);
      else wipe(button.canvas);
    }
  }

  arrange(items, order) {
    const kept = new Map(items.map(({ key }) => [key, this.buttons.get(key) ?? this.button()]));
    for (const [key, button] of this.buttons) if (!kept.has(key)) this.watch.unobserve(button);
    const focused = this.host.contains(document.activeElement) ? document.activeElement : null;
    this.buttons = kept;
    this.order = order;
    this.host.replaceChildren(...kept.values());
    if (focused?.isConnected) focused.focus({ preventScroll: true });
  }

  button() {
    const canvas = make("canvas", { width: 1, height: 1 });
    const label = make("span", { class: "label" });
    const note = make("span", { class: "px" });
    const button = make("button", { type: "button", class: "thumb" }, canvas, label, note);
    button.addEventListener("click", () => this.choose(button.item.part));
    Object.assign(button, { canvas, label, note });
    this.watch.observe(button);
    return button;
  }
}
