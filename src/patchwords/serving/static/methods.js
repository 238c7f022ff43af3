/** Attribution methods, and whether what they show is more than chance. */

import { draw, make, tell } from "./element.js";
import { figures } from "./scale.js";

const TOLD = {
  gradient_rollout: ["Gradient-weighted rollout", "attention that raises the class, through all layers"],
  integrated_gradients: ["Integrated gradients", "what each pixel adds on the way from an empty picture"],
  grad_cam: ["Grad-CAM", "tokens near the end that raise the class"],
  gradient_input: ["Gradient × input", "slope of the logit times the pixel"],
  gradient: ["Gradient", "how strongly each pixel can move the class"],
  occlusion: ["Occlusion", "what the class loses when a patch is covered"],
};
const [WIDTH, HEIGHT] = [220, 84];

/** @param {string} method @returns {string} its name in words */
export function methodName(method) {
  return TOLD[method]?.[0] ?? method;
}

/** The list of methods, each with its numbers once measured. */
export class Methods {
  /** @param {HTMLElement} host @param {(method: string) => void} choose @param {() => void} refresh */
  constructor(host, choose, refresh) {
    this.host = host;
    this.choose = choose;
    this.refresh = refresh;
    this.every = "";
  }

  /**
   * Show what is known, and ask for what is wanted: the method chosen, or one after the other.
   * @param {import("./subject.js").Subject} subject @param {number} target @param {string} chosen
   */
  show(subject, target, chosen) {
    const { methods } = subject.model;
    const about = `${subject.model.id} ${subject.picture} ${target}`;
    if (target >= 0 && chosen) subject.verdict(chosen, target);
    if (this.every === about && !subject.awaits("attribution")) askNext(subject, target);
    const states = methods.map((method) => stateOf(subject, method, target));
    const key = JSON.stringify([about, chosen, states.map(({ text, good }) => [text, good]), this.every]);
    if (key === this.key) return;
    this.key = key;
    const focused = this.host.contains(document.activeElement) ? document.activeElement.dataset.method : null;
    const all = make("button", { type: "button", class: "plain", text: "Measure all methods" });
    all.disabled = this.every === about || target < 0;
    all.addEventListener("click", () => {
      this.every = about;
      this.refresh();
    });
    this.host.replaceChildren(...methods.map((method, i) => this.button(method, states[i], method === chosen)), all);
    if (focused) this.host.querySelector(`[data-method="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  button(method, state, chosen) {
    const [name, what] = TOLD[method] ?? [method, ""];
    const mark = state.good === undefined ? "" : state.good ? "good" : "bad";
    const button = make(
      "button",
      { type: "button", class: "method", "aria-pressed": String(chosen), "data-method": method },
      make("span", { class: "name", text: name }),
      make("span", { class: "quiet", text: what }),
      make("span", { class: `verdict ${mark}`, text: state.text }),
    );
    if (state.curves) button.append(make("span", { class: "areas", text: areas(state.curves) }));
    if (state.curves && chosen) button.append(plot(state.curves));
    button.addEventListener("click", () => this.choose(method));
    return button;
  }
}

function askNext(subject, target) {
  for (const method of subject.model.methods) {
    if (stateOf(subject, method, target).done) continue;
    if (subject.attribution(method, target)) subject.verdict(method, target);
    return;
  }
}

function stateOf(subject, method, target) {
  const fault = subject.fault(`attribution ${method} ${target} `);
  if (fault) return { text: fault, good: false, done: true };
  const meta = subject.peek("attribution", { method, target, curves: 1 });
  if (meta) {
    const text = meta.explains ? "explains more than chance" : "explains no more than chance";
    return { text, good: meta.explains, curves: meta.curves, done: true };
  }
  if (subject.awaits(`attribution ${method} ${target} `)) return { text: "measuring …" };
  return { text: "not measured yet" };
}

function areas(curves) {
  const { deletion_area, random_deletion_area, insertion_area, random_insertion_area } = curves;
  return (
    `deletion ${figures(deletion_area)} (chance ${figures(random_deletion_area)}, less is better) · ` +
    `insertion ${figures(insertion_area)} (chance ${figures(random_insertion_area)}, more is better)`
  );
}

/** Probability of the class while patches go and come, beside a random order. */
function plot(curves) {
  const x = curves.changed_share;
  const line = (values, name) => {
    const points = values.map((y, i) => `${x[i] * WIDTH},${(1 - y) * HEIGHT}`).join(" ");
    return draw("polyline", { points, class: name });
  };
  const label = "Probability of the class while patches are taken away or put in, beside a random order";
  const drawing = draw(
    "svg",
    { viewBox: `-2 -4 ${WIDTH + 4} ${HEIGHT + 8}`, class: "curves", role: "img", "aria-label": label },
    draw("rect", { x: 0, y: 0, width: WIDTH, height: HEIGHT, class: "ground" }),
    line(curves.random_deletion, "deletion chance"),
    line(curves.random_insertion, "insertion chance"),
    line(curves.deletion, "deletion"),
    line(curves.insertion, "insertion"),
  );
  const key = make("span", { class: "key" });
  key.append(
    make("span", { class: "deletion", text: "━ patches taken away, best first" }),
    make("span", { class: "insertion", text: "━ put in, best first" }),
    make("span", { class: "quiet", text: "┄ in random order · up: probability 0 to 1, right: share of patches" }),
  );
  return make("span", { class: "drawn" }, drawing, key);
}

/** Say what the panel is about. @param {HTMLElement} element @param {string} name of the class */
export function aboutMethods(element, name) {
  tell(
    element,
    name ? `What speaks for ${name}, and whether taking away the patches a method names first matters:` : "",
  );
}
