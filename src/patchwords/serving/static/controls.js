/** The choices around the picture: views, models, depth, who looks, colours. */

import { className } from "./captions.js";
import { depthNames, matchDepth, shownView } from "./depth.js";
import { byId, make, offer, tell } from "./element.js";
import { methodName } from "./methods.js";
import { askable, methodFor, queryName } from "./sight.js";
import { VIEWS } from "./state.js";

const TABS = {
  attention: "Attention",
  rollout: "Rollout",
  attribution: "What speaks for it",
  patches: "Patch by patch",
  receptive: "Receptive field",
};
/** Choice on the page -> name in the view, and whether the back button undoes it. */
const SELECTS = { compare: true, fusion: true, scale: false, style: false, grain: false };
const HELD = "held";
const TOUCH = matchMedia("(hover: none)").matches;

/** Everything one can set. */
export class Controls {
  /**
   * @param {import("./subject.js").Model[]} models
   * @param {(part: Object, options?: {step?: boolean}) => void} set
   */
  constructor(models, set) {
    this.models = models;
    this.set = set;
    this.names = [];
    this.tabs = VIEWS.map((view) => this.tab(view));
    byId("views").append(...this.tabs);
    for (const [id, step] of Object.entries(SELECTS)) {
      byId(id).addEventListener("change", ({ target }) => set({ [id]: target.value }, { step }));
    }
    byId("model").addEventListener("change", ({ target }) => {
      const { model, compare } = this.latest;
      set({ model: target.value, compare: compare === target.value ? model : compare }, { step: true });
    });
    byId("depth").addEventListener("input", ({ target }) => set({ layer: Number(target.value) }));
    byId("opacity").addEventListener("input", ({ target }) => set({ opacity: Number(target.value) }));
    byId("asked").addEventListener("change", ({ target }) => {
      if (target.value !== HELD) set({ query: { token: target.value } }, { step: true });
    });
  }

  tab(view) {
    const told = { type: "button", role: "tab", id: `tab-${view}`, "aria-controls": "sight", text: TABS[view] };
    const button = make("button", told);
    button.addEventListener("click", () => this.choose(view));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = (VIEWS.indexOf(view) + step + VIEWS.length) % VIEWS.length;
      this.tabs[next].focus();
      this.choose(VIEWS[next]);
    });
    return button;
  }

  /** Go to a view, staying at the depth where one was. */
  choose(view) {
    this.leaving = this.names[this.latest.layer - 1];
    this.set({ view }, { step: true });
  }

  /**
   * @param {import("./state.js").View} view
   * @param {import("./subject.js").Subject[]} subjects those shown; the first decides on depth
   */
  show(view, subjects) {
    this.latest = view;
    VIEWS.forEach((name, i) => {
      this.tabs[i].setAttribute("aria-selected", String(name === view.view));
      this.tabs[i].tabIndex = name === view.view ? 0 : -1;
    });
    this.bringIntoSight(view.view);
    this.showModels(view);
    for (const id of ["fusion", "scale", "style", "grain"]) byId(id).value = view[id];
    byId("opacity").value = view.opacity;
    const kinds = subjects.map(({ model }) => shownView(model, view.view));
    const asks = kinds.some((kind) => kind === "attention" || kind === "rollout");
    byId("asked-row").hidden = !asks;
    byId("fusion-row").hidden = !kinds.includes("rollout");
    byId("style-row").hidden = kinds.every((kind) => kind === "attribution");
    byId("grain-row").hidden = !kinds.includes("attribution");
    byId("depth-row").hidden = !kinds.some((kind) => ["attention", "patches", "receptive"].includes(kind));
    if (!subjects.length) return;
    if (asks) this.showAsked(view, subjects.find(({ model }) => model.attention).model);
    this.showDepth(view, subjects[0]);
    tell(byId("about"), aboutView(view, subjects[0]));
  }

  /** On a narrow screen the row of tabs is longer than the page. */
  bringIntoSight(view) {
    if (byId("sight").getAttribute("aria-labelledby") === `tab-${view}` && this.placed) return;
    this.placed = true;
    byId("sight").setAttribute("aria-labelledby", `tab-${view}`);
    byId("views").scrollLeft = byId(`tab-${view}`).offsetLeft - byId("views").offsetLeft - 60;
  }

  showModels(view) {
    const choices = this.models.map(({ id, name }) => ({ value: id, text: name }));
    offer(byId("model"), choices, view.model);
    byId("model-label").hidden = byId("compare-label").hidden = choices.length < 2;
    const others = choices.filter(({ value }) => value !== view.model);
    offer(byId("compare"), [{ value: "", text: "no other" }, ...others], view.compare);
  }

  showAsked(view, model) {
    const names = askable(model);
    const choices = names.map((token) => ({ value: token, text: queryName(model, { token }) }));
    const held = !("token" in view.query);
    if (held) choices.push({ value: HELD, text: queryName(model, view.query) });
    offer(byId("asked"), choices, held ? HELD : names.includes(view.query.token) ? view.query.token : "mean");
  }

  showDepth(view, subject) {
    const names = depthNames(subject, view);
    const slider = byId("depth");
    if (names.length && names.join() !== this.names.join()) {
      this.names = names;
      slider.max = names.length;
      const layer = matchDepth(this.leaving, names, view.layer);
      this.leaving = undefined;
      if (layer !== view.layer) queueMicrotask(() => this.set({ layer }));
    }
    slider.disabled = !names.length;
    slider.value = view.layer;
    const name = names[view.layer - 1] ?? "";
    slider.setAttribute("aria-valuetext", name);
    tell(byId("depth-name"), view.view === "attention" ? `${name} of ${names.length}` : name);
  }
}

/** What a view shows, in a sentence or two. */
function aboutView(view, subject) {
  const name = className(subject, subject.target(view)) || "a class";
  const method = methodName(methodFor(subject.model, view.method));
  switch (view.view) {
    case "attention":
      return TOUCH
        ? "Touch a patch (white frame) to see where it looks; orange: most."
        : "Hover a patch (white frame) to see where it looks; orange: most. Click to hold it.";
    case "rollout":
      return "Attention of all layers multiplied through: which patches a token is made of in the end.";
    case "attribution":
      return `What speaks for ${name}, by ${method}. Choose another class or method.`;
    case "patches":
      return `What the model would say from each patch alone, layer by layer: how probable it finds ${name}.`;
    default:
      return "Which pixels can move the token in the centre, layer by layer. Works for every model.";
  }
}
