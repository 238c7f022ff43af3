/** How pictures come in: dropped, chosen, pasted, or picked among the given ones. */

import { Fault, imageAddress, sendPicture } from "./api.js";
import { byId, make } from "./element.js";

/** Takes pictures from the user and hands their ids on. */
export class Intake {
  /** Listens from the first moment on: a picture dropped on a page that does not listen makes the browser leave it. */
  constructor() {
    this.latest = 0;
    this.opened = new Promise((resolve) => (this.resolve = resolve));
    this.listen();
  }

  /**
   * Hand on what came in so far and what will come.
   * @param {{bytes: number}} limits
   * @param {{busy: (name: string) => void, taken: (picture: {id: string, name: string}) => void,
   *   failed: (message: string) => void, pick: (id: string) => void}} handlers
   */
  open(limits, handlers) {
    this.limits = limits;
    this.handlers = handlers;
    this.resolve();
  }

  /** Send files one after the other; the last one sent is looked at. @param {Iterable<File>} files */
  async take(files) {
    const turn = ++this.latest;
    await this.opened;
    for (const file of files) {
      const name = file.name || "pasted picture";
      try {
        if (file.size > this.limits.bytes) throw new Fault(tooLarge(name, file.size, this.limits.bytes), 413);
        this.handlers.busy(name);
        const picture = await sendPicture(file, name);
        if (turn === this.latest) this.handlers.taken(picture);
      } catch (error) {
        this.handlers.failed(error.message);
      }
    }
  }

  listen() {
    const [file, veil] = [byId("file"), byId("dropping")];
    byId("choose").addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      this.take([...file.files]);
      file.value = "";
    });
    addEventListener(
      "paste",
      (event) => event.clipboardData?.files.length && this.take([...event.clipboardData.files]),
    );
    let inside = 0;
    const show = (on) => (veil.hidden = !on);
    addEventListener("dragenter", (event) => {
      event.preventDefault();
      show(++inside > 0);
    });
    addEventListener("dragleave", () => show(--inside > 0));
    addEventListener("dragover", (event) => event.preventDefault());
    addEventListener("drop", async (event) => {
      event.preventDefault();
      show((inside = 0));
      const files = [...event.dataTransfer.files];
      if (files.length) return this.take(files);
      await this.opened;
      this.handlers.failed("What was dropped is not a file. Save the picture first, then drop the file.");
    });
  }

  /**
   * Show the pictures one can pick.
   * @param {{id: string, name: string}[]} pictures @param {string} chosen @param {string} model whose view is shown
   */
  show(pictures, chosen, model) {
    const host = byId("given");
    const key = JSON.stringify([pictures, model]);
    if (key !== this.key) {
      this.key = key;
      host.replaceChildren(...pictures.map((picture) => this.button(picture, model)));
    }
    for (const button of host.children) button.setAttribute("aria-pressed", String(button.dataset.picture === chosen));
  }

  button({ id, name }, model) {
    const image = make("img", { src: imageAddress(id, model), alt: name, loading: "lazy", width: 56, height: 56 });
    const told = { type: "button", class: "pick", title: name, "data-picture": id };
    return make("button", { ...told, on: { click: () => this.handlers.pick(id) } }, image);
  }
}

function tooLarge(name, bytes, most) {
  const mib = (count) => (count / 2 ** 20).toFixed(1);
  return `${name}: ${mib(bytes)} MiB are too many. Give a picture of at most ${mib(most)} MiB`;
}

/** What stands where the picture will be. @returns {HTMLElement} */
export function emptyState() {
  const choose = make("button", { type: "button", class: "primary", text: "Choose a picture …" });
  choose.addEventListener("click", () => byId("file").click());
  return make(
    "div",
    { class: "empty" },
    make("p", { class: "big", text: "Drop a picture here" }),
    make("p", { text: "to see what the model takes it for, and where every patch of it looks." }),
    choose,
    make("p", { class: "quiet", text: "It stays on this machine: the model runs here." }),
  );
}
