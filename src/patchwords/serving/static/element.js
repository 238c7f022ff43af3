/** Elements of the page; text from the server enters here, as text only. */

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} id @returns {any} the element of the page with this id */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Make an element: `make("button", { type: "button", text: "Go" }, child, ...)`.
 * @param {string} tag
 * @param {Object<string, any>} [told] attributes; `text` becomes its text, `on` maps events to functions
 * @param {...Node} children
 * @returns {HTMLElement}
 */
export function make(tag, told = {}, ...children) {
  return fill(document.createElement(tag), told, children);
}

/** The same for drawings. @returns {SVGElement} */
export function draw(tag, told = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), told, children);
}

function fill(element, { text, on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : String(value));
  }
  if (text !== undefined) element.textContent = text;
  for (const [event, listener] of Object.entries(on)) element.addEventListener(event, listener);
  element.append(...children);
  return element;
}

/** A name from outside, kept from turning the text around it. @param {string} text @param {string} [className] */
export function named(text, className = "") {
  return make("bdi", { text, class: className || undefined, title: text });
}

/** Set text only when it differs. @param {Node} element @param {string} text */
export function tell(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Fill a list of choices, keeping the one chosen.
 * @param {HTMLSelectElement} select @param {{value: string, text: string}[]} choices @param {string} chosen
 */
export function offer(select, choices, chosen) {
  const key = JSON.stringify(choices);
  if (select.dataset.choices !== key) {
    select.dataset.choices = key;
    select.replaceChildren(...choices.map(({ value, text }) => make("option", { value, text })));
  }
  select.value = chosen;
}

/**
 * Make `children` all that `host` holds; those that stay keep the focus.
 * @param {HTMLElement} host @param {HTMLElement[]} children
 */
export function showOnly(host, children) {
  for (const each of [...host.children]) if (!children.includes(each)) each.remove();
  children.forEach((each, i) => host.children[i] === each || host.insertBefore(each, host.children[i] ?? null));
}
