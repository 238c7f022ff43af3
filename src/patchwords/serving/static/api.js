/** Questions to the server this page came from; every fault becomes one line. */

import { readJson, readPacked } from "./packed.js";

/** A fault in one line that can be shown to the user. */
export class Fault extends Error {
  /**
   * @param {string} message
   * @param {number} status 0: no answer at all
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const GONE = "The server does not answer. Start it again (patchwords inspect MODEL --live); the picture stays here.";

/**
 * @param {string} path below /api/
 * @param {Object<string, string|number>} [query]
 * @returns {string} address on this server
 */
export function address(path, query = {}) {
  const asked = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
  return `/api/${path}${asked.size ? `?${asked}` : ""}`;
}

/** @param {AbortSignal} [signal] @returns {Promise<any>} the JSON answer */
export async function getJson(path, query, signal) {
  return readJson(await (await ask(address(path, query), { signal })).text());
}

/** @param {AbortSignal} [signal] @returns {Promise<import("./packed.js").Packed>} */
export async function getPacked(path, query, signal) {
  const answer = await ask(address(path, query), { signal });
  try {
    return readPacked(await answer.arrayBuffer());
  } catch (error) {
    throw new Fault(`The server's answer could not be read: ${error.message}`, 0);
  }
}

/** @param {AbortSignal} [signal] @returns {Promise<ImageBitmap>} the picture exactly as the model sees it */
export async function getImage(picture, model, signal) {
  const answer = await ask(imageAddress(picture, model), { signal });
  return createImageBitmap(await answer.blob());
}

/** @returns {string} address of the picture as the model sees it */
export function imageAddress(picture, model) {
  return address(`pictures/${encodeURIComponent(picture)}/image`, { model });
}

/**
 * Hand a picture to the server.
 * @param {Blob} blob @param {string} name
 * @returns {Promise<{id: string, name: string}>}
 */
export async function sendPicture(blob, name) {
  const headers = { "X-Name": encodeURIComponent(name.toWellFormed?.() ?? name) };
  return readJson(await (await ask(address("pictures"), { method: "POST", body: blob, headers })).text());
}

async function ask(where, options) {
  let answer;
  try {
    answer = await fetch(where, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault(GONE, 0);
  }
  if (answer.ok) return answer;
  throw new Fault(await line(answer), answer.status);
}

/** The server's fault as `where: what. fix`, as the command line prints it. */
async function line(answer) {
  try {
    const { what, where, fix } = readJson(await answer.text());
    const text = where ? `${where}: ${what}` : what;
    return fix ? `${text.replace(/\.$/, "")}. ${fix}` : text;
  } catch {
    return `The server answered ${answer.status} ${answer.statusText}`.trim();
  }
}
