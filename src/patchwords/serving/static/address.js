/** The address of the page: it follows the view, and restores it. */

import { START, fromHash, toHash } from "./state.js";

/** Milliseconds after the last small change until the address follows. */
const DELAY = 200;

/** Reads and writes location.hash. */
export class Address {
  /** @param {import("./subject.js").Model[]} models @param {{id: string}[]} pictures those given at the start */
  constructor(models, pictures) {
    this.models = new Map(models.map((model) => [model.id, model]));
    const [first, second] = models;
    /** What is shown when the address says nothing. */
    this.usual = { ...START, model: first.id, compare: second?.id ?? "", picture: pictures[0]?.id ?? "" };
  }

  /** @returns {import("./state.js").View} with models that there are */
  read() {
    clearTimeout(this.later);
    const { models, usual } = this;
    const view = fromHash(location.hash, (id) => (models.get(id) ?? models.get(usual.model)).grid, usual);
    if (!models.has(view.model)) view.model = usual.model;
    if (view.compare === view.model || !models.has(view.compare)) view.compare = "";
    return view;
  }

  /**
   * @param {import("./state.js").View} view
   * @param {boolean} step make a step that the back button undoes; otherwise the address follows after a moment
   */
  write(view, step) {
    clearTimeout(this.later);
    if (step) this.put(view, "pushState");
    else this.later = setTimeout(() => this.put(view, "replaceState"), DELAY);
  }

  put(view, how) {
    const hash = toHash(view, this.models.get(view.model).grid, this.usual);
    if (hash !== location.hash) history[how](null, "", hash);
  }
}
