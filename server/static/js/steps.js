// The steps of one prediction: timeline, slider, words, attention on the image, stack.

import { bar, byId, make, percent, plural } from "./dom.js";
import { describeLevels, drawLevels } from "./draw.js";
import { stackMoves, stackRows, thumbnail } from "./stack.js";

const PACE = 1600; // milliseconds a step while playing
// A word or a module counts as used at a step from this share on.
const USED = { word: 0.12, module: 0.2 };

export class Steps {
  #timer = null;
  #open = false; // whether steps that do nothing are shown one by one

  // changed(step) is called when another step is shown. idle(t) says of a step whether it needs no
  // card of its own, details(t) what its card says besides.
  constructor(changed, { idle, details }) {
    Object.assign(this, { changed, idle, details });
    byId("slider").addEventListener("input", (event) => {
      this.#pause();
      this.show(this.visible[Number(event.target.value)]);
    });
    byId("play").addEventListener("click", () => (this.#timer ? this.#pause() : this.#play()));
  }

  // Show a prediction about an image, {src, alt}, from a step on (null: the first).
  load(prediction, image, step) {
    this.#pause();
    this.prediction = prediction;
    this.modules = prediction.modules;
    this.image = image;
    this.#open = step in prediction.steps && this.idle(step);
    byId("steps").hidden = false;
    byId("stack-panel").hidden = false;
    byId("overlay").hidden = false;
    this.#build();
    this.show(step ?? 0);
  }

  clear() {
    this.#pause();
    this.prediction = null;
    for (const id of ["steps", "stack-panel", "overlay"]) byId(id).hidden = true;
  }

  // Numbers of the steps that have a card of their own.
  get visible() {
    const { steps } = this.prediction;
    const busy = steps.map((_, t) => t).filter((t) => this.#open || !this.idle(t));
    return busy.length ? busy : [0];
  }

  show(step) {
    const place = Math.max(0, this.visible.indexOf(step));
    this.step = this.visible[place];
    const now = this.prediction.steps[this.step];
    const { title, description } = this.#info(now.module);
    const slider = byId("slider");
    slider.max = String(this.visible.length - 1);
    slider.value = String(place);
    slider.setAttribute("aria-valuetext", `Step ${this.step + 1}: ${title}`);
    byId("step-name").textContent = `Step ${this.step + 1} of ${this.prediction.steps.length}: ${title}`;
    const levels = now.stack[now.pointer];
    drawLevels(byId("overlay"), levels);
    byId("overlay").setAttribute("aria-label", `Attention after step ${this.step + 1}, ${describeLevels(levels)}`);
    byId("caption").textContent = description;
    this.#showWords(now);
    this.#showStack(now);
    byId("modules").replaceChildren(
      ...this.modules.map((module, index) => {
        const row = bar(module.title, now.module_probabilities[index]);
        row.title = module.description;
        row.tabIndex = 0;
        this.#highlights(row, (one) => one.module_probabilities[index] >= USED.module, (one) => one.word_attention);
        return row;
      }),
    );
    for (const card of byId("timeline").querySelectorAll("[data-step]")) {
      if (Number(card.dataset.step) === this.step) card.setAttribute("aria-current", "step");
      else card.removeAttribute("aria-current");
    }
    this.changed(this.step);
  }

  #info(name) {
    return this.modules.find((module) => module.name === name);
  }

  #play() {
    const last = this.visible.length - 1;
    if (Number(byId("slider").value) === last) this.show(this.visible[0]);
    byId("play").textContent = "⏸";
    byId("play").setAttribute("aria-label", "Pause");
    this.#timer = setInterval(() => {
      const next = Number(byId("slider").value) + 1;
      if (next > last) this.#pause();
      else this.show(this.visible[next]);
    }, PACE);
  }

  #pause() {
    clearInterval(this.#timer);
    this.#timer = null;
    byId("play").textContent = "▶";
    byId("play").setAttribute("aria-label", "Play the steps");
  }

  #build() {
    const { steps, words } = this.prediction;
    byId("words").replaceChildren(
      ...words.map((word, s) => {
        const token = make("span", { class: "word", tabindex: 0 }, word);
        this.#highlights(token, (step) => step.word_attention[s] >= USED.word, null);
        return token;
      }),
    );
    const cards = [];
    for (let t = 0; t < steps.length; ) {
      let end = t + 1;
      const folded = this.idle(t) && !this.#open;
      while (folded && end < steps.length && this.idle(end)) end += 1;
      cards.push(folded ? this.#foldedCard(t, end) : this.#card(t));
      t = end;
    }
    byId("timeline").replaceChildren(...cards);
  }

  #card(t) {
    const step = this.prediction.steps[t];
    const { title, description } = this.#info(step.module);
    const share = Math.max(...step.module_probabilities);
    const button = make(
      "button",
      { type: "button", "data-step": t },
      make("span", { class: "number" }, String(t + 1)),
      make("span", { class: "title" }, title),
      thumbnail(this.image, step.stack[step.pointer]),
      make("span", { class: "visually-hidden" }, describeLevels(step.stack[step.pointer])),
      make("span", { class: "spread", "aria-hidden": "true" }, ...step.module_probabilities.map(column)),
      make("span", { class: "share" }, percent(share)),
      make("span", { class: "heard" }, this.#heard(step)),
      make("span", { class: "description" }, description),
      ...this.details(t),
    );
    button.addEventListener("click", () => {
      this.#pause();
      this.show(t);
    });
    return make("li", { "data-card": t }, button);
  }

  #foldedCard(begin, end) {
    const button = make(
      "button",
      { type: "button", class: "folded" },
      make("span", { class: "number" }, begin + 1 === end ? String(end) : `${begin + 1}–${end}`),
      make("span", { class: "title" }, "Nothing"),
      make("span", { class: "description" }, `${plural(end - begin, "step")} without work; show`),
    );
    button.addEventListener("click", () => {
      this.#open = true;
      this.#build();
      this.show(begin);
      byId("timeline").querySelector(`[data-step="${begin}"]`).focus();
    });
    return make("li", {}, button);
  }

  // The words that a step listens to most, in the order of the question.
  #heard({ word_attention: shares }) {
    const { words } = this.prediction;
    const loud = words.filter((_, s) => shares[s] >= USED.word);
    return loud.length ? `“${loud.join(" ")}”` : "no word in particular";
  }

  #showWords({ word_attention: shares }) {
    const most = Math.max(...shares, 0.3);
    [...byId("words").children].forEach((token, s) => {
      token.style.setProperty("--share", (shares[s] / most).toFixed(3));
      token.title = `${percent(shares[s])} of this step's attention`;
    });
  }

  #showStack(now) {
    const before = this.step > 0 ? this.prediction.steps[this.step - 1] : null;
    const popped = before ? now.popped : [];
    byId("stack").replaceChildren(...stackRows(now, this.image));
    byId("moves").replaceChildren(stackMoves({ ...now, popped }));
    if (popped.length) {
      const taken = popped.map((place) => thumbnail(this.image, before.stack[place]));
      byId("moves").append(make("span", { class: "popped", "aria-hidden": "true" }, ...taken));
    }
  }

  // While an element is hovered or focused: the steps for which used(step) holds stand out, and
  // of the words those that they listen to (shares(step) gives [S]; null: no words).
  #highlights(element, used, shares) {
    const mark = (on) => {
      // The pointer also leaves when a new image hides the element.
      if (!this.prediction) return;
      const { steps } = this.prediction;
      const chosen = steps.filter((step) => on && used(step));
      for (const card of byId("timeline").querySelectorAll("[data-card]")) {
        card.classList.toggle("used", on && chosen.includes(steps[Number(card.dataset.card)]));
        card.classList.toggle("unused", on && !chosen.includes(steps[Number(card.dataset.card)]));
      }
      if (!shares) return;
      [...byId("words").children].forEach((token, s) => {
        token.classList.toggle("used", chosen.some((step) => shares(step)[s] >= USED.word));
      });
    };
    for (const event of ["pointerenter", "focus"]) element.addEventListener(event, () => mark(true));
    for (const event of ["pointerleave", "blur"]) element.addEventListener(event, () => mark(false));
  }
}

function column(share) {
  const fill = make("span");
  fill.style.blockSize = `${Math.max(4, 100 * share)}%`;
  return fill;
}
