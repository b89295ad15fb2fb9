// The form that changes the step that is shown: its module, its words, where it looks.

import { byId, make } from "../dom.js";
import { insertBefore, isEmpty, noEdits, removeStep, setBox, setLayout, setModule, setWords } from "./edits.js";
import { Region } from "./region.js";

const SIDES = ["x", "y", "width", "height"];

export class Editor {
  // changed(edits) is called with every change; layoutOf(question) gives that of a question from the
  // server, null: of the one that was asked.
  constructor(changed, layoutOf) {
    this.changed = changed;
    this.layoutOf = layoutOf;
    this.region = new Region(
      (box) => changed(setBox(this.edits, this.step, box)),
      () => {
        byId("draw-region").setAttribute("aria-pressed", "false");
        this.#showBox();
      },
    );
    byId("edit-module").addEventListener("change", (event) =>
      changed(setModule(this.edits, this.step, event.target.value || null)),
    );
    byId("remove-step").addEventListener("click", () => changed(removeStep(this.edits, this.step)));
    byId("insert-step").addEventListener("click", () => this.#insert());
    byId("own-words").addEventListener("click", () => changed(setWords(this.edits, this.step, null)));
    byId("draw-region").addEventListener("click", () => this.#toggleDrawing());
    byId("set-region").addEventListener("click", () => this.#setBox());
    byId("own-region").addEventListener("click", () => changed(setBox(this.edits, this.step, null)));
    byId("expert-layout").addEventListener("click", () => this.#takeLayout(null));
    byId("other-layout").addEventListener("click", () => this.#takeLayout(byId("other-question").value.trim()));
    byId("other-question").addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#takeLayout(event.target.value.trim());
    });
    byId("undo-edits").addEventListener("click", () => changed(noEdits(this.own)));
  }

  // The model's own run of another question.
  begin(own) {
    this.own = own;
    const options = () => own.modules.map(({ name, title }) => make("option", { value: name }, title));
    byId("edit-module").replaceChildren(make("option", { value: "" }), ...options());
    byId("insert-module").replaceChildren(...options().slice(1));
    byId("edit-words").replaceChildren(
      ...own.words.map((word, s) => {
        const button = make("button", { type: "button", class: "token", "aria-pressed": "false" }, word);
        button.addEventListener("click", () => this.#toggleWord(s));
        return button;
      }),
    );
    this.say("");
  }

  // The run that is shown, with its edits.
  load(run, edits) {
    Object.assign(this, { run, edits });
  }

  show(step) {
    this.step = step;
    const { module, words } = this.edits[step];
    const title = (name) => this.own.modules.find((one) => one.name === name).title;
    byId("editor-step").textContent = `Step ${step + 1}: ${title(this.run.steps[step].module)}`;
    byId("edit-module").value = module ?? "";
    byId("edit-module").firstElementChild.textContent = `${title(this.own.steps[step].module)} (the model's own)`;
    [...byId("edit-words").children].forEach((button, s) =>
      button.setAttribute("aria-pressed", String(words?.includes(s) ?? false)),
    );
    byId("own-words").disabled = words === null && this.edits[step].from === null;
    byId("own-region").disabled = this.edits[step].box === null;
    byId("undo-edits").disabled = this.run === this.own;
    if (this.region.active) this.region.stop();
    this.#showBox();
  }

  clear() {
    if (this.region.active) this.region.stop();
    this.region.place(null);
    this.edits = null;
  }

  // What is wrong with the last change, or "".
  say(sentence) {
    byId("edit-error").textContent = sentence;
  }

  #insert() {
    const edits = insertBefore(this.edits, this.run, this.step, byId("insert-module").value);
    if (edits) this.changed(edits);
    else this.say("There is no room: no step from here on does nothing.");
  }

  #toggleWord(s) {
    const words = new Set(this.edits[this.step].words ?? []);
    if (!words.delete(s)) words.add(s);
    this.changed(setWords(this.edits, this.step, [...words].sort((a, b) => a - b)));
  }

  #toggleDrawing() {
    if (this.region.active) return this.region.stop();
    this.region.start(this.own.image_width, this.own.image_height);
    byId("draw-region").setAttribute("aria-pressed", "true");
    this.say("");
    byId("frame").scrollIntoView({ block: "nearest" });
  }

  #setBox() {
    const box = SIDES.map((side) => Number(byId(`region-${side}`).value));
    this.changed(setBox(this.edits, this.step, box));
  }

  #showBox() {
    const box = this.edits?.[this.step]?.box ?? null;
    SIDES.forEach((side, k) => {
      byId(`region-${side}`).value = box ? String(box[k]) : "";
    });
    if (this.own) this.region.place(box, this.own.image_width, this.own.image_height);
  }

  async #takeLayout(question) {
    if (question === "") return this.say("Type the other question first.");
    this.say("");
    try {
      const { own, expert, reason } = await this.layoutOf(question);
      const names = question === null ? expert : own;
      if (names === null) return this.say(reason);
      const edits = setLayout(this.own, names);
      this.changed(edits);
      if (isEmpty(edits)) this.say("The model runs that layout by itself.");
    } catch (refusal) {
      if (!("code" in refusal)) throw refusal;
      this.say(refusal.message);
    }
  }
}
