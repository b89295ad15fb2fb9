// The list of models: which of them can be asked, and downloads of those that are not here.

import { download, getModels } from "./api.js";
import { byId, percent } from "./dom.js";

const COMING = new Set(["waiting", "loading", "downloading"]);
const EVERY = 1000; // milliseconds between questions about models that are on their way

export class Models {
  #models = [];

  // changed() is called when another model is chosen or one has become ready.
  constructor(changed) {
    this.changed = changed;
    this.select = byId("model");
    this.select.addEventListener("change", () => {
      this.#show();
      changed();
    });
    byId("download").addEventListener("click", async () => {
      byId("download").hidden = true;
      try {
        await download(this.name);
      } catch (refusal) {
        byId("model-state").textContent = refusal.message;
      }
      this.refresh();
    });
  }

  get name() {
    return this.select.value;
  }

  get current() {
    return this.#models.find((model) => model.name === this.name);
  }

  choose(name) {
    const known = [...this.select.options].some((option) => option.value === name);
    if (known) this.select.value = name;
    this.#show();
    return known;
  }

  async refresh() {
    try {
      this.#models = await getModels();
    } catch (refusal) {
      byId("model-state").textContent = refusal.message;
      return;
    }
    this.#show();
    if (this.#models.some((model) => COMING.has(model.state))) setTimeout(() => this.refresh(), EVERY);
  }

  #show() {
    const model = this.current;
    if (!model) {
      byId("model-state").textContent = this.select.options.length ? "" : "This server has no model.";
      return;
    }
    const progress = model.progress === null ? "" : ` ${percent(model.progress)}`;
    byId("model-state").textContent = model.message ? model.message + progress : accuracy(model.card);
    byId("download").hidden = model.state !== "published";
  }
}

// The first figure of each task on a model's card, as a sentence.
function accuracy(card) {
  return ["accuracy", "precision_at_1"]
    .flatMap((kind) => Object.entries(card[kind] ?? {}).slice(0, 1))
    .filter(([, score]) => typeof score?.share === "number")
    .map(([data, { share }]) => `${(100 * share).toFixed(1)} % right (${data})`)
    .join("; ");
}
