// "What if": the model's own run of a question, edits of it, and the run that follows from them,
// which is then shown with the model's own beside it.

import { answerText, hideOwnAnswer, showOwnAnswer } from "../answer.js";
import { getLayout, predict } from "../api.js";
import { byId, make } from "../dom.js";
import { stackMoves, stackRows, thumbnail } from "../stack.js";
import { differences, heard, looksAt } from "./differences.js";
import { Editor } from "./editor.js";
import { fromText, isEmpty, noEdits, toRequest, toText } from "./edits.js";

export class WhatIf {
  #running = null; // AbortController of the request under way

  // shown(run, push) is called with what is to be shown; push: whether by a change of the visitor's.
  constructor(shown) {
    this.shown = shown;
    this.editor = new Editor(
      (edits) => this.#apply(edits, true),
      (question) => getLayout(question ?? this.asked.question, this.asked.model),
    );
  }

  // Another question, {sample, file, question, model}, its run, the image {src}, edits of an address.
  async begin(own, asked, image, text) {
    Object.assign(this, { own, asked, image, run: own, edits: noEdits(own) });
    byId("editor").hidden = false;
    this.editor.begin(own);
    const edits = text ? fromText(text, own) : this.edits;
    if (!isEmpty(edits)) byId("editor").open = true;
    await this.#apply(edits, false);
  }

  clear() {
    this.#running?.abort();
    this.editor.clear();
    this.own = null;
    hideOwnAnswer();
    for (const id of ["editor", "own-look", "changed-title"]) byId(id).hidden = true;
    byId("looks").classList.remove("pair");
  }

  // For the address.
  get text() {
    return toText(this.edits);
  }

  get edited() {
    return this.run !== this.own;
  }

  // Whether neither run does anything at a step.
  idle(t) {
    return [this.own, this.run].every((run) => run.steps[t].module === "_NoOp");
  }

  // What a step's card says beside what it says of every run.
  details(t) {
    if (!this.edited) return [];
    const found = differences(this.own, this.run, t);
    const set = this.run.steps[t].given.join(", ");
    const own = this.own.steps[t];
    return [
      set ? make("span", { class: "set" }, `set: ${set}`) : "",
      found.length ? make("span", { class: "differs" }, `differs: ${found.map(([what]) => what).join(", ")}`) : "",
      found.length ? make("span", { class: "hint" }, `own: ${this.#title(own)}`) : "",
      found.length ? thumbnail(this.image, own.stack[own.pointer]) : "",
    ].filter(Boolean);
  }

  // Another step is shown.
  show(t) {
    this.editor.show(t);
    if (!this.edited) return;
    const own = this.own.steps[t];
    const found = differences(this.own, this.run, t);
    byId("own-step").textContent = `${this.#title(own)}, listening to ${heard(own, this.own.words)}`;
    byId("own-map").replaceChildren(thumbnail(this.image, own.stack[own.pointer]));
    byId("own-map").setAttribute("aria-label", `The model's own attention after step ${t + 1}, ${looksAt(own)}`);
    byId("own-stack").replaceChildren(...stackRows(own, this.image));
    byId("own-moves").textContent = stackMoves(own);
    byId("step-differs").textContent = found.length
      ? `Differs: ${found.map(([, sentence]) => sentence).join("; ")}.`
      : "Both do the same at this step.";
    byId("looks").classList.toggle("differs", found.length > 0);
  }

  #title(step) {
    return this.own.modules.find((module) => module.name === step.module).title;
  }

  async #apply(edits, push) {
    this.#running?.abort();
    this.editor.say("");
    let run = this.own;
    if (!isEmpty(edits)) {
      const controller = new AbortController();
      this.#running = controller;
      byId("editor").setAttribute("aria-busy", "true");
      try {
        run = await predict({ ...this.asked, edits: toRequest(edits, this.own) }, controller.signal);
      } catch (error) {
        if (error.name === "AbortError") return;
        if (!("code" in error)) throw error;
        // What was there before goes on.
        if (!push) this.#show(this.own, noEdits(this.own), false);
        else this.editor.show(this.editor.step);
        this.editor.say(error.message);
        return;
      } finally {
        if (this.#running === controller) {
          this.#running = null;
          byId("editor").removeAttribute("aria-busy");
        }
      }
    }
    this.#show(run, edits, push);
  }

  #show(run, edits, push) {
    Object.assign(this, { run, edits });
    this.editor.load(run, edits);
    for (const id of ["own-look", "changed-title"]) byId(id).hidden = !this.edited;
    byId("looks").classList.toggle("pair", this.edited);
    if (this.edited) showOwnAnswer(this.own, answerText(this.own) !== answerText(run));
    else hideOwnAnswer();
    this.shown(run, push);
  }
}
