/** The page: what is looked at, drawn again when it changes. */

import { Address } from "./address.js";
import { caption } from "./captions.js";
import { Classes, announce } from "./classes.js";
import { Controls } from "./controls.js";
import { depthNames, shownView } from "./depth.js";
import { Details } from "./details.js";
import { byId, showOnly, tell } from "./element.js";
import { emptyState } from "./intake.js";
import { Legend } from "./legend.js";
import { Stage } from "./picture.js";
import { readout } from "./readout.js";
import { keep, npzAddress, pngOf } from "./save.js";
import { layerFor, shareScale, sightOf } from "./sight.js";
import { Store } from "./state.js";
import { Subject } from "./subject.js";

/** Models and pictures kept for going back, and bytes of attention they may hold. */
const [MOST_SUBJECTS, MOST_BYTES] = [8, 512 << 20];

/** Questions without whose answers there is little to see; and faults that may be gone the next time. */
const [NEEDED, PASSING] = [
  ["image", "predict", "attention"],
  [0, 429, 500, 503],
];

/** All parts of the page, and the one place where they meet. */
export class Page {
  /**
   * @param {{models: import("./subject.js").Model[], pictures: Object[], limits: Object}} told by /api/state
   * @param {import("./intake.js").Intake} intake
   */
  constructor({ models, pictures, limits }, intake) {
    this.models = models;
    this.pictures = pictures;
    this.subjects = new Map();
    this.hover = null;
    this.address = new Address(models, pictures);
    this.store = new Store(this.address.read(), (...change) => this.changed(...change));
    const set = (part, options) => this.store.set(part, options);
    this.controls = new Controls(models, set);
    this.classes = new Classes(byId("classes"), (...chosen) => this.chooseClass(...chosen));
    this.details = new Details(set, () => this.refresh());
    this.stages = [0, 1].map(() => this.stage());
    this.intake = intake;
    intake.open(limits, {
      busy: (name) => this.busy(name),
      taken: (picture) => this.take(picture),
      failed: (message) => this.fail(message),
      pick: (picture) => set({ picture }, { step: true }),
    });
    this.empty = emptyState();
    this.listen();
    this.refresh();
  }

  get view() {
    return this.store.view;
  }

  /** The models shown, each with the picture; none without a picture. @returns {Subject[]} */
  get shown() {
    const { model, compare, picture } = this.view;
    if (!picture) return [];
    return [model, compare].filter(Boolean).map((id) => this.subjectOf(id, picture));
  }

  /** Who looks now: what is held, else what is hovered, else what was chosen. */
  get query() {
    return this.held ? this.view.query : (this.hover ?? this.view.query);
  }

  get held() {
    return !("token" in this.view.query);
  }

  subjectOf(id, picture) {
    const key = `${id} ${picture}`;
    let subject = this.subjects.get(key);
    if (!subject) {
      const model = this.models.find((each) => each.id === id);
      subject = new Subject(model, picture, (name) => this.arrived(subject, name));
      subject.load();
    }
    this.subjects.delete(key);
    this.subjects.set(key, subject); // the last in order is the one used last
    return subject;
  }

  forget() {
    const shown = new Set(this.shown);
    const bytes = () => [...this.subjects.values()].reduce((sum, each) => sum + (each.weights?.bytes ?? 0), 0);
    for (const [key, subject] of this.subjects) {
      if (this.subjects.size <= MOST_SUBJECTS && bytes() <= MOST_BYTES) return;
      if (shown.has(subject)) continue;
      subject.close();
      this.subjects.delete(key);
    }
  }

  /** The view changed: a query is only drawn, anything else is told to all parts. */
  changed(view, names, step) {
    this.address.write(view, step);
    if (names.has("picture")) this.hover = null;
    if (names.size === 1 && names.has("query")) this.controls.show(view, this.shown);
    else this.refresh();
    this.redraw();
  }

  arrived(subject, name) {
    if (!this.shown.includes(subject)) return;
    if (name === "predict") announce(byId("live"), subject);
    const fault = subject.faults.get(name);
    if (fault?.status === 404 && name === "image") return this.lose(subject.picture, fault.message);
    if (fault && (NEEDED.includes(name) || PASSING.includes(fault.status))) this.fail(fault.message, true);
    this.refresh();
  }

  refresh() {
    const [view, subjects] = [this.view, this.shown];
    this.forget();
    this.controls.show(view, subjects);
    const asks = ["attribution", "patches"].includes(view.view);
    this.classes.show(subjects, (subject) => (asks ? subject.target(view) : -1));
    const named = subjects.some(({ answer }) => answer?.labels.length);
    tell(
      byId("classes-hint"),
      named ? "Choose a class to see what speaks for it." : subjects.length ? "" : "No picture yet.",
    );
    this.intake.show(this.pictures, view.picture, view.model);
    showOnly(byId("stages"), subjects.length ? subjects.map((_, i) => this.stages[i].element) : [this.empty]);
    subjects.forEach((subject, i) => this.stages[i].show(subject));
    byId("stages").style.setProperty("--opacity", view.opacity / 100);
    byId("stages").classList.toggle("two", subjects.length > 1);
    document.body.classList.toggle("two", subjects.length > 1);
    this.details.show(subjects, view);
    document.body.classList.toggle("bare", !subjects.length);
    byId("png").disabled = !subjects.length;
    const npz = byId("npz");
    npz.setAttribute("aria-disabled", String(!subjects.length));
    if (subjects.length) npz.href = npzAddress(subjects[0], view);
    else npz.removeAttribute("href");
    this.redraw();
  }

  /** Draw in the next frame, however often it is asked for. */
  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const [view, subjects, query] = [this.view, this.shown, this.query];
    const first = subjects[0];
    const layers = subjects.map((subject) => layerFor(subject, first, view));
    this.sights = subjects.map((subject, i) => sightOf(subject, view, query, layers[i]));
    if (view.scale === "common") shareScale(this.sights);
    subjects.forEach((subject, i) => {
      const [stage, sight] = [this.stages[i], this.sights[i]];
      const marks = ["attention", "rollout"].includes(shownView(subject.model, view.view));
      stage.draw(sight, { query, marks, style: view.style });
      stage.legend.show(sight, view.style);
      const at = { query, under: this.hover, held: this.held, layer: layers[i] };
      tell(stage.readout, readout(subject, view, sight, at));
    });
    this.details.draw(query);
  }

  caption(subject) {
    return caption(subject, this.view, this.query, layerFor(subject, this.shown[0], this.view));
  }

  stage() {
    const set = (query) => this.store.set({ query });
    const stage = new Stage({
      hover: (at) => this.hoverAt(at),
      hold: (at) => set(this.held && same(at, this.view.query) ? { token: "class" } : at),
      touch: (at) => {
        this.hover = null;
        set(at);
      },
      move: (at) => {
        this.hover = null;
        set(at);
        requestAnimationFrame(() => tell(byId("live"), stage.readout.textContent));
      },
      asked: () => this.query,
      key: (key) => this.press(key),
    });
    stage.legend = new Legend();
    stage.frame.after(stage.legend.element);
    return stage;
  }

  hoverAt(at) {
    if (same(at, this.hover)) return;
    this.hover = at;
    this.redraw();
  }

  /** Keys on the picture beside the arrows. @returns {boolean} whether the key meant something */
  press(key) {
    const { layer, head, model } = this.view;
    const { heads } = this.models.find(({ id }) => id === model);
    const last = depthNames(this.shown[0], this.view).length;
    const parts = {
      Escape: { query: { token: "class" } },
      PageUp: { layer: Math.min(layer + 1, Math.max(last, layer)) },
      PageDown: { layer: Math.max(layer - 1, 1) },
      ".": { head: Math.min(head + 1, heads) },
      ",": { head: Math.max(head - 1, 0) },
      m: { head: 0 },
      Enter: { query: this.query },
    };
    if (!(key in parts)) return false;
    if (key === "Escape") this.hover = null;
    this.store.set(parts[key]);
    requestAnimationFrame(() => tell(byId("live"), this.caption(this.shown[0])));
    return true;
  }

  /** Ask about a class; models with as many classes are taken to have the same ones. */
  chooseClass(subject, target) {
    const alike = this.shown.every(({ model }) => model.classes === subject.model.classes);
    const part = alike
      ? { target, other: target }
      : { [subject.model.id === this.view.model ? "target" : "other"]: target };
    const view = this.view.view === "patches" ? "patches" : "attribution";
    this.store.set({ ...part, view }, { step: true });
  }

  busy(name) {
    this.fail("");
    tell(byId("live"), `Reading ${name}`);
    document.body.classList.add("busy");
  }

  take(picture) {
    document.body.classList.remove("busy");
    this.fail("");
    this.pictures = [picture, ...this.pictures.filter(({ id }) => id !== picture.id)];
    this.store.set({ picture: picture.id, query: { token: "class" }, target: -1, other: -1 }, { step: true });
  }

  /** The server has a picture no longer. */
  lose(picture, message) {
    this.pictures = this.pictures.filter(({ id }) => id !== picture);
    this.store.set({ picture: "" });
    this.fail(message);
  }

  /** Say what went wrong; "" takes it back. @param {string} message @param {boolean} [again] can be tried again */
  fail(message, again = false) {
    document.body.classList.remove("busy");
    byId("alert").hidden = !message;
    byId("alert-retry").hidden = !again;
    tell(byId("alert-text"), message);
  }

  listen() {
    byId("alert-close").addEventListener("click", () => this.fail(""));
    byId("alert-retry").addEventListener("click", () => {
      this.fail("");
      for (const subject of this.shown) subject.retry();
      this.refresh();
    });
    byId("png").addEventListener("click", () => this.savePng());
    byId("keys-open").addEventListener("click", () => byId("keys").showModal());
    addEventListener("popstate", () => this.goBack());
    addEventListener("resize", () => this.refresh());
  }

  goBack() {
    this.hover = null;
    this.store.view = this.address.read();
    this.fail("");
    this.refresh();
  }

  async savePng() {
    const panels = this.shown.flatMap((subject, i) => {
      const [{ photo, map }, sight] = [this.stages[i], this.sights[i]];
      if (typeof sight === "string" || !subject.image) return [];
      const asked = this.stages[i].marked;
      return [{ photo, map, sight, asked, lines: [subject.model.name, this.caption(subject)] }];
    });
    if (!panels.length) return this.fail("There is nothing drawn yet that could be saved.");
    keep(await pngOf(panels, this.view), `patchwords-${this.view.view}.png`);
  }
}

function same(one, other) {
  return one === other || (one && other && one.y === other.y && one.x === other.x);
}
