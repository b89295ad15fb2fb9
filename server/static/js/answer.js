// The answer with its rivals, or the box on the image.

import { bar, byId, percent } from "./dom.js";

const SHOWN = 5;

// Whether a box is meant, not an answer.
export const isBoxed = (prediction) => prediction.task === "loc";

export const answerText = (prediction) =>
  isBoxed(prediction) ? `a box, ${percent(prediction.box.confidence)} sure` : prediction.answer;

// truth is {answer} or {box: [x, y, width, height]} where it is known, else null; edited: whether
// the visitor changed what the model does.
export function showAnswer(prediction, truth, edited) {
  const boxed = isBoxed(prediction);
  byId("answer").hidden = false;
  byId("answer-label").textContent = (boxed ? "Found" : "Answer") + (edited ? " with your changes" : "");
  byId("answer-text").textContent = answerText(prediction);
  byId("shares").replaceChildren(...bars(prediction));
  byId("truth").textContent = verdict(prediction, truth, boxed);
  placeBox(byId("found-box"), prediction.box && boxed ? asList(prediction.box) : null, prediction);
  placeBox(byId("true-box"), boxed ? truth?.box : null, prediction);
  return byId("answer-text").textContent;
}

// What the model answers by itself, beside what it does with the visitor's changes.
export function showOwnAnswer(own, differs) {
  byId("own-answer").hidden = false;
  byId("own-answer-label").textContent = `The model's own${differs ? ", which differs" : ": the same"}`;
  byId("own-answer-text").textContent = answerText(own);
  byId("own-shares").replaceChildren(...bars(own));
  byId("answers").classList.toggle("differs", differs);
  byId("answers").classList.add("pair");
  placeBox(byId("own-box"), isBoxed(own) ? asList(own.box) : null, own);
}

export function hideOwnAnswer() {
  byId("own-answer").hidden = true;
  byId("own-box").hidden = true;
  byId("answers").classList.remove("pair", "differs");
}

const bars = (prediction) =>
  prediction.probabilities
    .slice(0, isBoxed(prediction) ? 0 : SHOWN)
    .map(({ answer, probability }) => bar(answer, probability));

export function hideBoxes() {
  byId("found-box").hidden = true;
  byId("true-box").hidden = true;
}

export const asList = ({ x, y, width, height }) => [x, y, width, height];

function verdict(prediction, truth, boxed) {
  if (boxed && truth?.box) {
    return `Overlap with the true box (dashed): ${percent(overlap(asList(prediction.box), truth.box))}`;
  }
  if (!boxed && truth?.answer) {
    return truth.answer === prediction.answer ? "✓ That is right." : `✗ The true answer is ${truth.answer}.`;
  }
  return "";
}

// Put an element of the image's frame where a box, [x, y, width, height] in pixels, is; null hides it.
export function placeBox(element, box, { image_width: width, image_height: height }) {
  element.hidden = !box;
  if (!box) return;
  element.style.left = `${(100 * box[0]) / width}%`;
  element.style.top = `${(100 * box[1]) / height}%`;
  element.style.width = `${(100 * box[2]) / width}%`;
  element.style.height = `${(100 * box[3]) / height}%`;
}

// The overlap of two such boxes: their intersection over their union.
export function overlap([x1, y1, w1, h1], [x2, y2, w2, h2]) {
  const across = Math.min(x1 + w1, x2 + w2) - Math.max(x1, x2);
  const down = Math.min(y1 + h1, y2 + h2) - Math.max(y1, y2);
  const common = Math.max(0, across) * Math.max(0, down);
  return common / (w1 * h1 + w2 * h2 - common);
}
