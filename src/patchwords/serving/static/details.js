/** Beside the picture: all heads, all layers, methods; every map follows the query. */

import { className } from "./captions.js";
import { readable, shownView } from "./depth.js";
import { byId, make, named, offer, tell } from "./element.js";
import { Methods, aboutMethods } from "./methods.js";
import { plotDistances } from "./plot.js";
import { PALETTES, figures } from "./scale.js";
import { headFor, layerFor, methodFor, sightOf, tokenOf } from "./sight.js";
import { FUSIONS } from "./state.js";
import { Thumbs } from "./thumbs.js";
import { MEAN_HEAD } from "./weights.js";

const FUSED = { mean: "mean", max: "largest", min: "smallest" };
const PANELS = ["methods", "fusions", "heads", "layers", "all"];

/** The panels of one model at a time. */
export class Details {
  /** @param {(part: Object, options: Object) => void} set @param {() => void} refresh */
  constructor(set, refresh) {
    this.side = 0;
    this.refresh = refresh;
    const choose = (part) => set(part, { step: true });
    const chooseHead = ({ layer, head }) => choose({ layer: this.layerBack(layer), head });
    this.chooseHead = chooseHead;
    this.thumbs = {
      fusions: new Thumbs(byId("fusions"), choose),
      heads: new Thumbs(byId("heads"), chooseHead),
      layers: new Thumbs(byId("layers"), chooseHead),
      all: new Thumbs(byId("all"), chooseHead),
    };
    this.methods = new Methods(byId("methods"), (method) => choose({ method, view: "attribution" }), refresh);
    for (const id of ["order", "only"]) byId(id).addEventListener("change", refresh);
  }

  /** @param {import("./subject.js").Subject[]} subjects @param {import("./state.js").View} view */
  show(subjects, view) {
    this.side = Math.min(this.side, subjects.length - 1);
    if (this.side < 0) this.side = 0;
    this.showSides(subjects);
    const subject = subjects[this.side];
    this.subject = subject;
    byId("right").hidden = !subject;
    if (!subject) return (byId("all-panel").hidden = true);
    this.first = subjects[0];
    this.view = view;
    const kind = shownView(subject.model, view.view);
    const shown = { attention: ["heads", "layers", "all"], rollout: ["fusions"], attribution: ["methods"] }[kind] ?? [
      "layers",
    ];
    for (const name of PANELS) byId(`${name}-panel`).hidden = !shown.includes(name);
    this.kind = kind;
    if (kind === "attention") this.showHeads(subject, view);
    else if (kind === "rollout") this.showFusions(view);
    else if (kind === "attribution") this.showMethods(subject, view);
    else this.showStack(subject, view, kind);
  }

  showSides(subjects) {
    const host = byId("sides");
    host.hidden = subjects.length < 2;
    const buttons = subjects.map(({ model }, side) => {
      const told = { type: "button", "aria-pressed": String(side === this.side) };
      const choose = () => {
        this.side = side;
        this.refresh();
      };
      return make("button", { ...told, on: { click: choose } }, named(model.name));
    });
    const key = JSON.stringify([subjects.map(({ model }) => model.id), this.side]);
    if (key === this.sidesKey) return;
    this.sidesKey = key;
    const had = host.contains(document.activeElement);
    host.replaceChildren(...buttons);
    if (had) buttons[this.side]?.focus();
  }

  showHeads(subject, view) {
    const { weights, model } = subject;
    const layer = layerFor(subject, this.first, view);
    const head = headFor(model, view.head);
    const chosen = `${layer} ${head}`;
    const all = weights.distances();
    const here = all.filter((each) => each.layer === layer);
    const furthest = here.reduce((best, each) => (each.px > (best?.px ?? -1) ? each : best), null);
    const items = here.map((each) => headItem(each, `head ${each.head}`, each === furthest && here.length > 1));
    const mean = { layer, head: MEAN_HEAD };
    const title = `layer ${layer}, mean over heads`;
    items.unshift({ key: `${layer} 0`, label: "mean", note: "of all heads", title, part: mean, what: mean });
    tell(byId("heads-title"), `Heads of layer ${layer}`);
    this.thumbs.heads.show(items, chosen, model.grid);
    tell(byId("layers-title"), head ? `Head ${head} through the layers` : "Mean of the heads through the layers");
    const layers = Array.from({ length: model.layers }, (_, i) => {
      const part = { layer: i + 1, head };
      return { key: `${i + 1} ${head}`, label: String(i + 1), title: `layer ${i + 1}`, part, what: part };
    });
    this.thumbs.layers.show(layers, chosen, model.grid);
    this.showAll(all, { layer, head }, model, weights);
  }

  showAll(all, chosen, model, weights) {
    const layers = Array.from({ length: model.layers }, (_, i) => ({ value: String(i + 1), text: `layer ${i + 1}` }));
    offer(byId("only"), [{ value: "", text: "all layers" }, ...layers], byId("only").value);
    const [order, only] = [byId("order").value, byId("only").value];
    const listed = all.filter(({ layer }) => !only || layer === Number(only));
    if (order !== "layer") listed.sort((one, other) => (order === "far" ? other.px - one.px : one.px - other.px));
    const items = listed.map((each) => headItem(each, `${each.layer} · ${each.head}`, false));
    tell(
      byId("all-about"),
      "Mean distance in pixels between a patch and those it looks at, in this picture. " +
        "In the list: layer · head, and the distance.",
    );
    this.thumbs.all.show(items, `${chosen.layer} ${chosen.head}`, model.grid);
    plotDistances(byId("plot"), weights, chosen, this.chooseHead);
  }

  showFusions(view) {
    const items = FUSIONS.map((fusion) => ({
      key: fusion,
      label: FUSED[fusion],
      title: `the ${FUSED[fusion]} of the heads`,
      part: { fusion },
      what: { fusion },
    }));
    this.thumbs.fusions.show(items, view.fusion, this.subject.model.grid);
  }

  showMethods(subject, view) {
    const target = subject.target(view);
    aboutMethods(byId("methods-about"), className(subject, target));
    this.methods.show(subject, target, methodFor(subject.model, view.method));
  }

  showStack(subject, view, kind) {
    const target = subject.target(view);
    const stack = kind === "receptive" ? subject.receptive() : target >= 0 ? subject.patches(target) : undefined;
    const names = stack?.names ?? [];
    tell(byId("layers-title"), kind === "receptive" ? "Receptive field through the layers" : "Through the layers");
    const items = names.map((name, i) => {
      const radius = stack.meta.radius50_px?.[i];
      const note = radius === undefined ? "" : `${figures(radius)} px`;
      const label = readable(name)
        .replace("its attention alone", "alone")
        .replace(/^layer /, "");
      return {
        key: String(i),
        label,
        note,
        title: readable(name),
        part: { layer: i + 1, head: view.head },
        what: { layer: i + 1 },
      };
    });
    const chosen = Math.min(layerFor(subject, this.first, view), names.length) - 1;
    this.thumbs.layers.show(items, String(chosen), subject.model.grid);
  }

  /** Draw all small maps in sight. @param {import("./state.js").Query} query */
  draw(query) {
    const { subject, view, kind } = this;
    if (!subject) return;
    if (kind === "attention") return this.drawHeads(query);
    const small = { ...view, style: "colours" };
    const read = ({ layer, fusion }) => {
      const sight = sightOf(subject, fusion ? { ...small, fusion } : small, query, layer);
      return typeof sight === "string" ? null : sight;
    };
    if (kind === "rollout") this.thumbs.fusions.draw(read, PALETTES.sequential);
    else if (kind !== "attribution") this.thumbs.layers.draw(read, PALETTES.sequential);
  }

  drawHeads(query) {
    const { weights, model } = this.subject;
    const token = tokenOf(model, query);
    const common = this.view.scale === "common" ? weights.largest(token) : 0;
    if (this.shares?.length !== weights.patches) this.shares = new Float32Array(weights.patches);
    const found = { values: this.shares, size: model.grid, high: 0 };
    const read = ({ layer, head }) => {
      const largest = weights.read(layer, head, token, this.shares);
      if (largest < 0) return null;
      found.high = common || largest;
      return found;
    };
    for (const name of ["heads", "layers", "all"]) this.thumbs[name].draw(read, PALETTES.sequential);
  }

  /** The layer of the first model at the depth of a layer of the one shown here. */
  layerBack(layer) {
    if (this.subject === this.first) return layer;
    const [here, there] = [this.subject.model.layers, this.first.model.layers];
    return here && there ? 1 + Math.round(((layer - 1) / Math.max(here - 1, 1)) * (there - 1)) : layer;
  }
}

function headItem({ layer, head, px }, label, furthest) {
  const note = `${px.toFixed(1)} px${furthest ? " ▲" : ""}`;
  const most = furthest ? ", the furthest of its layer" : "";
  const title = `layer ${layer}, head ${head}: looks ${px.toFixed(1)} px far${most}`;
  return { key: `${layer} ${head}`, label, note, title, part: { layer, head }, what: { layer, head } };
}
