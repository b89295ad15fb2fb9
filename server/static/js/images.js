// Choosing an image: one of the samples, or a file that is picked, pasted or dropped.

import { byId } from "./dom.js";

const radios = () => [...document.querySelectorAll('input[name="sample"]')];

export class Images {
  #file = null;
  #url = "";

  // changed() is called after every choice of the visitor's.
  constructor(changed) {
    this.changed = changed;
    this.mostBytes = Number(document.body.dataset.maxUploadBytes);
    for (const radio of radios()) radio.addEventListener("change", () => this.#say("", true));
    byId("file").addEventListener("change", (event) => {
      const [file] = event.target.files;
      event.target.value = "";
      if (file) this.take(file);
    });
    document.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
      if (file) {
        event.preventDefault();
        this.take(file);
      }
    });
    this.#acceptDrops();
  }

  get sample() {
    return radios().find((radio) => radio.checked)?.value || null;
  }

  get file() {
    return this.sample ? null : this.#file;
  }

  // The chosen thumbnail, whose source and alternative text the stage shows.
  get chosen() {
    return radios().find((radio) => radio.checked).parentElement.querySelector("img");
  }

  select(sample) {
    const radio = radios().find((one) => one.value === sample && one.value !== "");
    if (radio) radio.checked = true;
    return Boolean(radio);
  }

  take(file) {
    if (file.type && !file.type.startsWith("image/")) {
      return this.#say(`${file.name} is not an image.`, false);
    }
    if (file.size > this.mostBytes) {
      return this.#say(`${file.name} is too large; at most ${this.mostBytes / 1e6} MB are taken.`, false);
    }
    URL.revokeObjectURL(this.#url);
    this.#file = file;
    this.#url = URL.createObjectURL(file);
    const own = byId("own-image");
    own.src = this.#url;
    own.alt = `Your image ${file.name}`;
    own.parentElement.hidden = false;
    own.parentElement.querySelector("input").checked = true;
    own.parentElement.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.#say("", true);
  }

  #say(sentence, changed) {
    byId("image-error").textContent = sentence;
    if (changed) this.changed();
  }

  #acceptDrops() {
    const veil = byId("drop");
    const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      veil.hidden = false;
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) veil.hidden = true;
    });
    document.addEventListener("drop", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      veil.hidden = true;
      const [file] = event.dataTransfer.files;
      if (file) this.take(file);
    });
  }
}
