// Whether to believe an answer: marks with their reasons, the steps as a line of text, and what they
// come to as a program on the true scene, where that is known.

import { byId, make } from "./dom.js";

const TITLES = {
  discrete_layout: "Not all is shown",
  undecided_step: "Undecided",
  wrong_kind: "Wrong kind of answer",
  no_object: "Looks at nothing",
  unlike_image: "Unfamiliar image",
  no_sentence: "Unfamiliar words",
};

export function showTrust({ marks, text, on_true_scene: scene }) {
  byId("trust").hidden = false;
  byId("marks").hidden = marks.length === 0;
  byId("marks").replaceChildren(
    ...marks.map(({ name, reason }) =>
      make(
        "li",
        { "data-mark": name },
        make("span", { class: "sign", "aria-hidden": "true" }, "⚠"),
        make("span", {}, make("strong", {}, `${TITLES[name]}: `), reason),
      ),
    ),
  );
  byId("in-words").textContent = text;
  byId("program").replaceChildren(...(scene ? programOf(scene) : []));
}

export function hideTrust() {
  byId("trust").hidden = true;
}

// How many reasons for doubt there are, to be said aloud after the answer.
export const doubts = ({ marks }) =>
  marks.length ? ` ${marks.length === 1 ? "A reason" : `${marks.length} reasons`} for doubt: ${marks.map(({ reason }) => reason).join(" ")}` : "";

function programOf({ program, gives, truth }) {
  const wanted = truth ? `; the question's own program gives ${truth}` : "";
  if (!program) return [`Layout and words are no program${wanted}.`];
  const given = gives ?? "nothing";
  return ["As a program, layout and words are ", make("code", {}, program), `, which gives ${given} on the true scene${wanted}.`];
}
