/** The picture one model sees, the map over it, and the patch that is asked about. */

import { make, named, tell } from "./element.js";
import { paint, wipe } from "./overlay.js";
import { paletteFor, say } from "./scale.js";
import { patchAt, placeOf } from "./state.js";

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/**
 * @typedef {Object} Handlers
 * @property {(place: {y: number, x: number}|null) => void} hover the pointer is over a patch, or has left
 * @property {(place: {y: number, x: number}) => void} hold a patch was clicked
 * @property {(place: {y: number, x: number}) => void} touch a finger is on a patch
 * @property {(place: {y: number, x: number}) => void} move the arrow keys went to a patch
 * @property {() => import("./state.js").Query} asked who looks now
 * @property {(key: string) => boolean} key another key; true when it meant something
 */

/** A picture with its grid; follows pointer, touch and keys. */
export class Stage {
  /** @param {Handlers} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    this.title = make("figcaption");
    this.photo = make("canvas", { class: "photo" });
    this.map = make("canvas", { class: "map" });
    this.lines = make("div", { class: "lines" });
    this.most = make("div", { class: "cell most" });
    this.asked = make("div", { class: "cell asked" });
    this.note = make("p", { class: "note" });
    this.frame = make(
      "div",
      { class: "frame", tabindex: 0, role: "application", "aria-roledescription": "picture in patches" },
      this.photo,
      this.map,
      this.lines,
      this.most,
      this.asked,
      this.note,
    );
    this.readout = make("p", { class: "readout" });
    this.element = make("figure", { class: "stage" }, this.title, this.frame, this.readout);
    this.grid = [1, 1];
    this.box = null;
    this.follow();
  }

  /** Show the picture of `subject`, when it has come. @param {import("./subject.js").Subject} subject */
  show(subject) {
    const { model, image, answer } = subject;
    this.grid = model.grid;
    const best = answer?.labels[0];
    const sees = best ? [named(best.class), ` ${say(best.probability, "share")}`] : ["…"];
    const seen = make("span", { class: "sees" }, "sees ", ...sees);
    const line = make("span", { class: "line" }, named(model.name, "name"), seen);
    this.title.replaceChildren(line, make("span", { text: facts(model), title: facts(model) }));
    this.frame.setAttribute(
      "aria-label",
      `Picture as ${model.name} sees it, ${model.grid[0]} by ${model.grid[1]} patches`,
    );
    this.element.style.setProperty("--rows", model.grid[0]);
    this.element.style.setProperty("--columns", model.grid[1]);
    this.element.style.setProperty("--shape", `${model.image_size[1]} / ${model.image_size[0]}`);
    this.element.style.setProperty("--slender", model.image_size[1] / model.image_size[0]);
    if (image && this.drawn !== image) {
      this.photo.width = image.width;
      this.photo.height = image.height;
      this.photo.getContext("2d").drawImage(image, 0, 0);
      this.photo.classList.toggle("tiny", image.width < 128);
    } else if (!image) this.photo.width = this.photo.width;
    this.drawn = image;
  }

  /**
   * Draw a map and mark the patch asked about, or say why there is none.
   * @param {import("./sight.js").Sight|string} sight
   * @param {{query: import("./state.js").Query, marks: boolean, style: string}} options
   */
  draw(sight, { query, marks, style }) {
    if (typeof sight === "string") {
      wipe(this.map);
      tell(this.note, sight);
      place(this.asked, null);
      return place(this.most, null);
    }
    tell(this.note, "");
    const palette = paletteFor(sight.signed, style);
    paint(this.map, sight.values, sight.size, sight.low, sight.high, palette, sight.root);
    const patch = patchAt(query, this.grid);
    /** The patch in the white frame, with the grid it lies in; null: none. */
    this.marked = marks && patch ? { ...patch, grid: this.grid } : null;
    place(this.asked, this.marked);
    place(this.most, marks ? mostOf(sight) : null);
  }

  follow() {
    const { frame, handlers } = this;
    const forget = () => (this.box = null);
    addEventListener("scroll", forget, { capture: true, passive: true });
    addEventListener("resize", forget);
    new ResizeObserver(forget).observe(frame);
    const touch = (event) => event.pointerType === "touch";
    frame.addEventListener("pointermove", (event) => {
      const at = this.placeUnder(event);
      if (!touch(event)) handlers.hover(at);
      else if (at) handlers.touch(at);
    });
    frame.addEventListener("pointerdown", (event) => {
      const at = this.placeUnder(event);
      if (touch(event) && at) handlers.touch(at);
    });
    frame.addEventListener("pointerleave", () => handlers.hover(null));
    frame.addEventListener("click", (event) => {
      const at = this.placeUnder(event);
      if (at && !touch(event)) handlers.hold(at);
    });
    frame.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = ARROWS[event.key];
    if (step) this.handlers.move(this.next(step));
    else if (!this.handlers.key(event.key)) return;
    event.preventDefault();
  }

  /** The patch one step on from the one asked about; the first step starts in the middle. */
  next([down, right]) {
    const [rows, columns] = this.grid;
    const from = patchAt(this.handlers.asked(), this.grid);
    if (!from) return placeOf(Math.floor(rows / 2), Math.floor(columns / 2), this.grid);
    const row = Math.min(Math.max(from.row + down, 0), rows - 1);
    return placeOf(row, Math.min(Math.max(from.column + right, 0), columns - 1), this.grid);
  }

  /** The middle of the patch under the pointer; null outside. */
  placeUnder(event) {
    this.box ??= this.frame.getBoundingClientRect();
    const y = (event.clientY - this.box.top) / this.box.height;
    const x = (event.clientX - this.box.left) / this.box.width;
    if (y < 0 || y >= 1 || x < 0 || x >= 1) return null;
    const patch = patchAt({ y, x }, this.grid);
    return placeOf(patch.row, patch.column, this.grid);
  }
}

/** The cell with the largest value, where the map has a value a patch. */
function mostOf({ values, size, signed }) {
  if (signed) return null;
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return { row: Math.floor(best / size[1]), column: best % size[1] };
}

function place(mark, patch) {
  mark.classList.toggle("shown", patch !== null);
  if (patch) mark.style.transform = `translate(${patch.column * 100}%, ${patch.row * 100}%)`;
}

/** A model in one line. */
function facts({ image_size: [rows, columns], grid, layers, heads, parameters, attention }) {
  const inside = attention ? `${grid[0]} × ${grid[1]} patches · ${layers} layers × ${heads} heads` : "no attention";
  const many = parameters >= 1e6 ? `${(parameters / 1e6).toFixed(1)} M` : `${Math.round(parameters / 1e3)} k`;
  return `${rows} × ${columns} px · ${inside} · ${many} parameters`;
}
