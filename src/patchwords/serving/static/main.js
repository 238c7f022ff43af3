/** Start: ask the server what there is, and build the page. */

import { getJson } from "./api.js";
import { byId, tell } from "./element.js";
import { Intake } from "./intake.js";
import { Page } from "./page.js";

async function start() {
  const intake = new Intake();
  try {
    new Page(await getJson("state"), intake);
  } catch (error) {
    tell(byId("alert-text"), error.message);
    byId("alert-retry").onclick = () => location.reload();
    byId("alert").hidden = false;
    console.warn(error);
  }
}

start();
