/** What the model takes the picture for: the most probable classes with bars. */

import { make, named, tell } from "./element.js";
import { say } from "./scale.js";

const FEW = 8;

/** A list of classes for each model. */
export class Classes {
  /** @param {HTMLElement} host @param {(subject: import("./subject.js").Subject, target: number) => void} choose */
  constructor(host, choose) {
    this.host = host;
    this.choose = choose;
    this.all = false;
  }

  /**
   * @param {import("./subject.js").Subject[]} subjects
   * @param {(subject: import("./subject.js").Subject) => number} chosen class asked about, or -1
   */
  show(subjects, chosen) {
    this.latest = [subjects, chosen];
    const key = JSON.stringify([subjects.map((s) => [s.model.id, s.picture, s.answer, s.fault("predict")]), this.all]);
    if (key !== this.key) this.host.replaceChildren(...subjects.map((each) => this.block(each, subjects.length > 1)));
    this.key = key;
    this.host.setAttribute("aria-busy", String(subjects.some((each) => each.awaits("predict"))));
    [...this.host.children].forEach((block, i) => {
      for (const button of block.querySelectorAll("button[data-class]")) {
        button.setAttribute("aria-pressed", String(Number(button.dataset.class) === chosen(subjects[i])));
      }
    });
  }

  block(subject, several) {
    const heading = several ? [make("h3", {}, named(subject.model.name))] : [];
    return make("div", { class: "answer" }, ...heading, this.body(subject));
  }

  body(subject) {
    if (subject.fault("predict")) return make("p", { class: "quiet", text: subject.fault("predict") });
    if (!subject.answer) return make("p", { class: "quiet", text: "Waiting for the prediction …" });
    const { labels } = subject.answer;
    if (!labels.length)
      return make("p", { class: "quiet", text: "This model has no classes; it gives features only." });
    const list = make("ol", { class: "classes" });
    list.append(
      ...labels.slice(0, this.all ? labels.length : FEW).map((label) => make("li", {}, this.line(label, subject))),
    );
    if (labels.length <= FEW) return list;
    const more = make("button", {
      type: "button",
      class: "plain",
      text: this.all ? "Fewer" : `${labels.length - FEW} more`,
    });
    more.addEventListener("click", () => {
      this.all = !this.all;
      this.show(...this.latest);
    });
    return make("div", {}, list, more);
  }

  line({ index, class: name, logit, probability }, subject) {
    const share = say(probability, "share");
    const bar = make("span", { class: "share", "aria-hidden": "true" });
    bar.style.setProperty("--share", probability);
    const title = `${name}: ${share}, logit ${say(logit, "")}`;
    const button = make(
      "button",
      { type: "button", class: "class", "data-class": index, title },
      named(name, "name"),
      make("span", { class: "number", text: share }),
      bar,
    );
    button.addEventListener("click", () => this.choose(subject, index));
    return button;
  }
}

/**
 * Say the prediction to those who hear the page.
 * @param {HTMLElement} live @param {import("./subject.js").Subject} subject
 */
export function announce(live, subject) {
  const best = subject.answer?.labels[0];
  if (best) tell(live, `${subject.model.name} sees ${best.class}, ${say(best.probability, "share")}`);
}
