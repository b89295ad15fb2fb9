// The stack after a step, as a list of maps from its top down.

import { make, plural } from "./dom.js";
import { describeLevels, drawLevels } from "./draw.js";

// A map over the image, {src}.
export function thumbnail(image, levels) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  drawLevels(canvas, levels);
  return make("span", { class: "small" }, make("img", { src: image.src, alt: "" }), canvas);
}

export function stackRows(step, image) {
  const rows = step.stack.map((levels, place) => {
    const marks = [
      place === step.pointer ? "pointer" : "",
      step.pushed.includes(place) ? "pushed" : "",
      step.read.includes(place) ? "read" : "",
    ].filter(Boolean);
    const gone = place > step.pointer;
    const label = place === 0 ? "bottom" : `place ${place}`;
    const text = [label, ...marks].join(", ");
    return make(
      "li",
      { class: [...marks, gone ? "gone" : ""].join(" "), "aria-label": `${text}: ${describeLevels(levels)}` },
      make("span", { class: "arrow", "aria-hidden": "true" }, place === step.pointer ? "▶" : ""),
      thumbnail(image, levels),
      make("span", { class: "mark", "aria-hidden": "true" }, marks.filter((mark) => mark !== "pointer").join(", ")),
    );
  });
  return rows.reverse();
}

// What a step did to the stack, as a sentence.
export function stackMoves({ popped, read, pushed }) {
  const parts = [];
  if (popped.length) parts.push(`popped ${plural(popped.length, "map")}`);
  if (read.length) parts.push(`read ${plural(read.length, "map")}`);
  if (pushed.length) parts.push(`pushed ${plural(pushed.length, "map")}`);
  return parts.length ? `This step ${parts.join(" and ")}.` : "The stack stays as it is.";
}
