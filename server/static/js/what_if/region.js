// A region drawn on the image with a pointer: a box, or an object's size around a click.

import { byId } from "../dom.js";

const CLICKED = [1 / 9, 1 / 6]; // of the image's width and height
const DRAGGED = 6; // screen pixels, from which on a movement is no click

export class Region {
  #start = null;

  // drawn([x, y, width, height]) is called in pixels of the image; left() when drawing ends.
  constructor(drawn, left) {
    this.frame = byId("frame");
    this.mark = byId("region");
    this.drawn = drawn;
    this.left = left;
    this.frame.addEventListener("pointerdown", (event) => this.#begin(event));
    this.frame.addEventListener("pointermove", (event) => this.#start && this.place(this.#box(event)));
    this.frame.addEventListener("pointerup", (event) => this.#end(event));
    this.frame.addEventListener("pointercancel", () => this.stop());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.active) this.stop();
    });
  }

  get active() {
    return this.frame.classList.contains("drawing");
  }

  start(width, height) {
    [this.width, this.height] = [width, height];
    this.frame.classList.add("drawing");
  }

  stop() {
    this.#start = null;
    this.frame.classList.remove("drawing");
    this.left();
  }

  // Show a box in pixels of an image of this.width x this.height; null: none.
  place(box, width = this.width, height = this.height) {
    this.mark.hidden = !box;
    if (!box) return;
    const [x, y, w, h] = box;
    Object.assign(this.mark.style, {
      left: `${(100 * x) / width}%`,
      top: `${(100 * y) / height}%`,
      width: `${(100 * w) / width}%`,
      height: `${(100 * h) / height}%`,
    });
  }

  #begin(event) {
    if (!this.active || event.button !== 0) return;
    event.preventDefault();
    this.frame.setPointerCapture(event.pointerId);
    this.#start = event;
  }

  #end(event) {
    if (!this.#start) return;
    const box = this.#box(event);
    this.stop();
    this.drawn(box);
  }

  #box(event) {
    const bounds = this.frame.getBoundingClientRect();
    const at = ({ clientX, clientY }) => [
      (this.width * (clientX - bounds.left)) / bounds.width,
      (this.height * (clientY - bounds.top)) / bounds.height,
    ];
    const [[x1, y1], [x2, y2]] = [at(this.#start), at(event)];
    const moved = Math.hypot(event.clientX - this.#start.clientX, event.clientY - this.#start.clientY);
    const size = [this.width, this.height];
    const sides =
      moved < DRAGGED
        ? [x1, y1].map((centre, k) => [centre - (CLICKED[k] * size[k]) / 2, centre + (CLICKED[k] * size[k]) / 2])
        : [[x1, x2].sort((a, b) => a - b), [y1, y2].sort((a, b) => a - b)];
    const [[left, right], [top, bottom]] = sides.map((side, k) =>
      side.map((value) => Math.round(Math.min(Math.max(value, 0), size[k]))),
    );
    return [left, top, Math.max(1, right - left), Math.max(1, bottom - top)];
  }
}
