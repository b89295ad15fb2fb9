// A second model on the same question: its steps beside the first one's, and what differs.

import { answerText, asList, isBoxed, overlap, placeBox } from "./answer.js";
import { predict } from "./api.js";
import { byId, make, percent, plural } from "./dom.js";
import { describeLevels } from "./draw.js";
import { thumbnail } from "./stack.js";
import { differences, heard } from "./what_if/differences.js";

const NOTHING = "_NoOp";
// Two boxes differ that overlap by less, as a box and the true one do.
const SAME_PLACE = 0.5;
// What differs, by what `differences` calls it.
const CHIPS = { module: "another module", words: "other words", map: "looks elsewhere", stack: "another place on the stack" };

export class Comparison {
  #running = null; // AbortController of the request under way
  #first = null; // what stands on the left: {asked, file, prediction, image, edited}
  #second = null; // the second model's answer: {asked, prediction}
  #step = 0;

  // chosen() is called when another second model is chosen; show(step) shows one of the first's.
  constructor(chosen, show) {
    this.select = byId("other");
    this.show = show;
    this.select.addEventListener("change", () => {
      chosen();
      this.#ask();
    });
  }

  // Name of the second model, null without one.
  get name() {
    return this.select.value || null;
  }

  choose(name) {
    this.select.value = name ?? "";
    // Of no such option.
    if (this.select.selectedIndex < 0) this.select.value = "";
    return this.select.value === (name ?? "");
  }

  // Put the second model, as it is, beside a run of the first about what was asked and an uploaded
  // file; image is {src}, edited: whether the visitor changed the run.
  load(asked, file, prediction, image, edited) {
    this.#first = { asked, file, prediction, image, edited };
    return this.#ask();
  }

  clear() {
    this.#running?.abort();
    this.#first = null;
    byId("comparison").hidden = true;
  }

  // The first model's step that is shown elsewhere.
  mark(step) {
    this.#step = step;
    for (const row of byId("compared-steps").querySelectorAll("[data-step]")) {
      if (Number(row.dataset.step) === step) row.setAttribute("aria-current", "step");
      else row.removeAttribute("aria-current");
    }
  }

  async #ask() {
    this.#running?.abort();
    byId("comparison").hidden = !(this.#first && this.name);
    if (!this.#first || !this.name) return;
    const { asked, file, prediction } = this.#first;
    // Changes of the first one's run leave the second as it was.
    if (this.#second?.asked === asked && this.#second.prediction.model === this.name) {
      this.#build(prediction, this.#second.prediction);
      return;
    }
    const controller = new AbortController();
    this.#running = controller;
    this.#say("The other model is being asked.");
    byId("compared").hidden = true;
    try {
      this.#second = { asked, prediction: await predict({ ...asked, file, model: this.name }, controller.signal) };
      this.#build(this.#first.prediction, this.#second.prediction);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!("code" in error)) throw error;
      this.#say(error.message);
    }
  }

  #say(sentence) {
    byId("comparison-state").textContent = sentence;
  }

  #build(one, other) {
    const title = ({ model }) => [...this.select.options].find((option) => option.value === model)?.text ?? model;
    byId("first-model").textContent = title(one) + (this.#first.edited ? ", with your changes" : "");
    byId("second-model").textContent = title(other);
    const answers = answerDifference(one, other);
    const steps = [];
    const count = Math.max(one.steps.length, other.steps.length);
    for (let t = 0; t < count; t += 1) {
      steps.push({ t, pair: [one.steps[t], other.steps[t]], differs: stepDifferences(one, other, t) });
    }
    const idle = ({ pair }) => pair.every((step) => !step || step.module === NOTHING);
    while (steps.length && idle(steps[steps.length - 1])) steps.pop();
    byId("compared-answers").replaceChildren(
      make(
        "tr",
        { class: answers ? "differs" : "" },
        make("th", { scope: "row" }, one.task === "loc" ? "Box" : "Answer"),
        make("td", {}, ...this.#answer(one)),
        make("td", {}, ...this.#answer(other), chips(answers ? [answers] : [])),
      ),
    );
    byId("compared-steps").replaceChildren(
      ...steps.map(({ t, pair, differs }) =>
        make(
          "tr",
          { class: differs.length ? "differs" : "", "data-step": t },
          make("th", { scope: "row" }, this.#number(t, pair[0])),
          make("td", {}, ...this.#cell(one, pair[0])),
          make("td", {}, ...this.#cell(other, pair[1]), chips(differs)),
        ),
      ),
    );
    const different = steps.filter(({ differs }) => differs.length).length;
    this.#say(
      `${answers ? "The answers differ" : "The answers are the same"}; ` +
        `${different ? `${different} of ${plural(steps.length, "step")} differ` : "no step differs"}` +
        `${steps.length < count ? ", and after that both do nothing" : ""}.`,
    );
    byId("compared").hidden = false;
    this.mark(this.#step);
  }

  #number(t, step) {
    if (!step || step.module === NOTHING) return String(t + 1);
    const button = make("button", { type: "button", class: "quiet", "aria-label": `Show step ${t + 1} above` }, String(t + 1));
    button.addEventListener("click", () => this.show(t));
    return button;
  }

  #answer(prediction) {
    const parts = [make("strong", { class: "compared-answer" }, answerText(prediction))];
    if (isBoxed(prediction)) {
      const frame = make("span", { class: "small" }, make("img", { src: this.#first.image.src, alt: "" }), make("span", { class: "box" }));
      placeBox(frame.lastChild, asList(prediction.box), prediction);
      parts.push(frame);
    } else {
      parts.push(make("span", { class: "hint" }, `${percent(prediction.probabilities[0].probability)} sure`));
    }
    return parts;
  }

  #cell(prediction, step) {
    if (!step) return [make("span", { class: "hint" }, "no such step")];
    const { title } = prediction.modules.find((module) => module.name === step.module);
    const name = make("strong", {}, title);
    if (step.module === NOTHING) return [name];
    const levels = step.stack[step.pointer];
    return [
      name,
      make("span", { class: "hint" }, `${percent(Math.max(...step.module_probabilities))}, ${heard(step, prediction.words)}`),
      thumbnail(this.#first.image, levels),
      make("span", { class: "visually-hidden" }, describeLevels(levels)),
    ];
  }
}

// How the answers differ, in words; null where they do not.
function answerDifference(one, other) {
  if (one.task !== other.task) return "another kind of answer";
  if (one.task === "vqa") return one.answer === other.answer ? null : "another answer";
  const common = overlap(asList(one.box), asList(other.box));
  return common >= SAME_PLACE ? null : `another place, overlap ${percent(common)}`;
}

function stepDifferences(one, other, t) {
  const pair = [one.steps[t], other.steps[t]];
  if (!pair[0] || !pair[1]) return ["no such step"];
  const found = differences(one, other, t).map(([what]) => what);
  const same = (of) => of(pair[0]) === of(pair[1]);
  const told = {
    module: true,
    // Where the same words stand in both columns, other shares of them would puzzle.
    words: !same((step) => heard(step, one.words)),
    // Models of other features may have another grid.
    map: same(({ image_attention: map }) => `${map.length} x ${map[0].length}`),
    stack: true,
  };
  // A step that does nothing looks and listens to nothing.
  const idle = pair.some(({ module }) => module === NOTHING);
  return found.filter((what) => what === "module" || (!idle && told[what])).map((what) => CHIPS[what]);
}

const chips = (texts) =>
  make("span", { class: "chips" }, ...texts.map((text) => make("span", { class: "chip" }, `≠ ${text}`)));
