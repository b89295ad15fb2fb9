// A question of a test that was opened from the list: its image, what the test found, neighbours.

import { getTested } from "./api.js";
import { byId, make, percent } from "./dom.js";

export class Walk {
  #found = null; // what the server tells of the question
  list = null; // filters of the list that it was opened from, as an address has them

  // The question as the test asked it, null without one.
  get question() {
    return this.#found?.tested.question ?? null;
  }

  // Open what a sample's id names, TEST/ROW; gives it as a sample, null for any other id.
  async open(id, list) {
    if (!id?.includes("/")) return null;
    const place = id.lastIndexOf("/");
    this.#found = await getTested(id.slice(0, place), id.slice(place + 1), list ?? "");
    this.list = list;
    const { sample } = this.#found;
    const image = byId("tested-image");
    image.src = sample.url;
    image.alt = sample.alt;
    image.parentElement.hidden = false;
    image.parentElement.querySelector("input").value = sample.id;
    this.#build();
    return sample;
  }

  // Show what the test said while its image is the chosen one.
  show(sample) {
    byId("walk").hidden = !this.#found || sample !== this.#found.sample.id;
  }

  #build() {
    const { tested, place, total, page } = this.#found;
    const test = this.#test;
    byId("walk-title").textContent = `Question ${tested.row} of ${test}${place ? `: ${place} of ${total} in the list` : ""}`;
    byId("walk-verdict").textContent = verdict(tested);
    byId("walk-marks").replaceChildren(...(tested.marks ?? []).map((mark) => make("span", { class: "chip" }, mark.replaceAll("_", " "))));
    const filters = new URLSearchParams(this.list ?? "");
    filters.set("test", test);
    filters.set("page", String(page));
    byId("walk-list").href = `results?${filters}`;
  }

  // Let the links to the neighbours keep the chosen models.
  link(model, other) {
    if (!this.#found) return;
    for (const way of ["previous", "next"]) {
      const row = this.#found[way];
      const link = byId(`walk-${way}`);
      link.hidden = row === null;
      const query = new URLSearchParams({ sample: `${this.#test}/${row}`, model, list: this.list ?? "" });
      if (other) query.set("other", other);
      link.href = `./?${query}#result`;
    }
  }

  get #test() {
    const { sample } = this.#found.tested;
    return sample.slice(0, sample.lastIndexOf("/"));
  }
}

function verdict({ answer, true_answer: truth, iou, correct, confidence }) {
  const said = answer === null ? "In the test the model drew a box" : `In the test the model said ${answer}`;
  const sure = `${percent(confidence)} sure`;
  if (correct === null) return `${said}, ${sure}; the truth is not known.`;
  if (answer === null) return `${said}, ${sure}: ${correct ? "right" : "wrong"}, overlap ${percent(iou)}.`;
  return `${said}, ${sure}: ${correct ? "right" : `wrong, it is ${truth}`}.`;
}
