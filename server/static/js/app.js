// The page: what is asked goes to the server, what comes back is shown step by step.

import { readAddress, writeAddress } from "./address.js";
import { answerText, hideBoxes, showAnswer } from "./answer.js";
import { check, getSamples, getVocabulary, predict } from "./api.js";
import { Comparison } from "./comparison.js";
import { addCompletion } from "./completion.js";
import { byId, make } from "./dom.js";
import { Images } from "./images.js";
import { Models } from "./models.js";
import { Steps } from "./steps.js";
import { doubts, hideTrust, showTrust } from "./trust.js";
import { Walk } from "./walk.js";
import { WhatIf } from "./what_if/what_if.js";

const IMAGE_CODES = new Set(["not_an_image", "damaged_image", "empty_image", "tiny_image", "unclear_image", "too_many_pixels", "too_large"]);
const ASKING = /^(what|how|is|are|do|does|has|have)\b[^?]*$/i;

const STAGE_HEIGHT = 420; // pixels at most

// Samples of tests are called TEST/ROW.
const isTested = (sample) => Boolean(sample?.includes("/"));

const question = byId("question");
let known = new Set(); // words
let samples = [];
let steps = null;
let whatIf = null;
let asked = null; // what the shown answer is about: {sample, question, model, other, list}
let shownStep = null;
let running = null; // AbortController of the request under way
let restoring = 0; // views that were restored, to know the latest
let closeCompletion = () => {};

const images = new Images(imageChanged);
const models = new Models(() => {
  suggest();
  walk.link(models.name, comparison.name);
});
const walk = new Walk();
const comparison = new Comparison(compared, (step) => steps.show(step));

function imageChanged() {
  walk.show(images.sample);
  reset();
  suggest();
}

// Another second model was chosen.
function compared() {
  walk.link(models.name, comparison.name);
  if (!asked) return;
  asked.other = comparison.name;
  writeAddress({ ...asked, edits: whatIf.text, step: shownStep }, { replace: true });
}

// Back to an image without an answer.
function reset() {
  running?.abort();
  asked = null;
  steps?.clear();
  whatIf?.clear();
  comparison.clear();
  hideBoxes();
  hideTrust();
  byId("answer").hidden = true;
  byId("caption").textContent = "Ask something, and the steps appear here.";
  showImage();
  clearErrors();
}

function showImage() {
  const stage = byId("stage-image");
  stage.src = images.chosen.src;
  stage.alt = images.chosen.alt;
  fitStage();
}

function fitStage() {
  const { naturalWidth: width, naturalHeight: height } = byId("stage-image");
  if (!width || !height) return;
  const frame = byId("frame");
  frame.style.aspectRatio = `${width} / ${height}`;
  frame.style.width = `min(100%, ${Math.round((STAGE_HEIGHT * width) / height)}px)`;
}

function clearErrors() {
  byId("question-error").textContent = "";
  byId("image-error").textContent = "";
  byId("nearest").hidden = true;
  question.removeAttribute("aria-invalid");
}

// What can be asked about the chosen image; about an own one, questions that fit any scene.
function suggestions() {
  const tasks = models.current?.tasks ?? ["vqa"];
  const sample = samples.find((one) => one.id === images.sample);
  const kinds = [];
  // A test asks for answers or for boxes, not for both.
  const some = (list, others) => (list?.length ? list : others);
  if (tasks.includes("vqa")) kinds.push(some(sample?.questions, GENERAL.questions));
  if (tasks.includes("loc")) kinds.push(some(sample?.expressions, GENERAL.expressions));
  return kinds.flatMap((kind) => (kinds.length > 1 ? kind.slice(0, 3) : kind));
}

const GENERAL = {
  questions: [
    { text: "How many objects are there?" },
    { text: "Are there any metal things?" },
    { text: "What color is the big sphere?" },
    { text: "Are there more cubes than spheres?" },
  ],
  expressions: [{ text: "the big sphere" }, { text: "the cube that is left of the sphere" }],
};

function suggest() {
  const tasks = models.current?.tasks ?? ["vqa"];
  const words = { vqa: "Question", loc: "Expression to find" };
  byId("question-label").textContent = tasks.map((task) => words[task]).join(" or ");
  question.placeholder = tasks.includes("vqa") ? "Is there a red cube left of the sphere?" : "the red cube left of the sphere";
  byId("suggestions").replaceChildren(
    ...suggestions().map(({ text }) => {
      const button = make("button", { type: "button" }, text);
      button.addEventListener("click", () => {
        question.value = text;
        ask();
      });
      return make("li", {}, button);
    }),
  );
}

function truthOf(text) {
  const sample = samples.find((one) => one.id === images.sample);
  return [...(sample?.questions ?? []), ...(sample?.expressions ?? [])].find((one) => one.text === text) ?? null;
}

function setBusy(busy) {
  byId("busy").hidden = !busy;
  byId("result").setAttribute("aria-busy", String(busy));
  byId("submit").setAttribute("aria-disabled", String(busy));
}

// Ask what the form says. step: which one to show; edits: of the run, as text; push: whether it is a
// new page of the history.
async function ask({ step = null, edits = "", push = true } = {}) {
  closeCompletion();
  clearErrors();
  running?.abort();
  const controller = new AbortController();
  running = controller;
  // Questions of the training data end with a question mark, nearly all of them.
  if (ASKING.test(question.value.trim()) && question.value !== walk.question) question.value = `${question.value.trim()}?`;
  const wanted = { sample: images.sample, question: question.value.trim(), model: models.name };
  byId("status").textContent = "The answer is being computed.";
  setBusy(true);
  try {
    if (hasUnknownWord(wanted.question)) {
      const found = await check(wanted.question);
      if (found.unknown.length) return refused({ ...found, message: found.detail, code: "unknown_word" });
    }
    const prediction = await predict({ ...wanted, file: images.file }, controller.signal);
    asked = { ...wanted, other: comparison.name, list: isTested(wanted.sample) ? walk.list : null };
    shownStep = step;
    showImage();
    // Before the first step is shown, which writes the address as well.
    if (push) writeAddress({ ...asked, edits: "", step }, { replace: false });
    await whatIf.begin(prediction, { ...wanted, file: images.file }, byId("stage-image"), edits);
    if (push) revealResult();
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!("code" in error)) throw error;
    refused(error);
  } finally {
    if (running === controller) {
      running = null;
      setBusy(false);
    }
  }
}

// A run of what was asked, with the visitor's changes or without.
function showRun(run, push) {
  const { edited, text } = whatIf;
  const answer = showAnswer(run, edited ? null : truthOf(asked.question), edited);
  if (push) writeAddress({ ...asked, edits: text, step: shownStep }, { replace: false });
  steps.load(run, byId("stage-image"), shownStep);
  comparison.load(asked, images.file, run, byId("stage-image"), edited);
  showTrust(run);
  const own = edited ? ` The model's own: ${answerText(whatIf.own)}.` : "";
  byId("status").textContent = `Answer${edited ? " with your changes" : ""}: ${answer}.${own}${doubts(run)}`;
}

// Browsers log refused requests as errors, so the commonest one is avoided; the server decides.
const hasUnknownWord = (text) =>
  text
    .toLowerCase()
    .split(/([^\p{L}\p{N}_]+)/u)
    .map((word) => word.trim())
    .some((word) => word && !known.has(word));

function refused(refusal) {
  byId("status").textContent = "";
  if (IMAGE_CODES.has(refusal.code)) {
    byId("image-error").textContent = refusal.message;
    return;
  }
  byId("question-error").textContent = refusal.message;
  question.setAttribute("aria-invalid", "true");
  question.focus();
  const offers = refusal.unknown.flatMap(({ word, nearest }) =>
    nearest.map((known) => {
      const button = make("button", { type: "button" }, `${word} → ${known}`);
      button.addEventListener("click", () => {
        question.value = replaceWord(question.value, word, known);
        ask();
      });
      return button;
    }),
  );
  byId("nearest").hidden = offers.length === 0;
  byId("nearest").replaceChildren(...offers);
}

const replaceWord = (text, word, known) =>
  text
    .split(/([^\p{L}\p{N}_'\u2019]+)/u)
    .map((piece) => (piece.toLowerCase().replaceAll("\u2019", "'") === word ? known : piece))
    .join("");

// On a phone the answer lies below the form.
function revealResult() {
  const result = byId("result");
  if (result.getBoundingClientRect().top < innerHeight / 2) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  result.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
}

function surprise() {
  const pick = (list) => list[Math.floor(Math.random() * list.length)];
  images.select(pick(samples.filter(({ id }) => !isTested(id))).id);
  imageChanged();
  question.value = pick(suggestions()).text;
  images.chosen.scrollIntoView({ block: "nearest", inline: "center" });
  ask();
}

// Show what the address says: on loading the page and on going back.
async function restore() {
  const view = readAddress();
  restoring += 1;
  const number = restoring;
  if (view.model) models.choose(view.model);
  comparison.choose(view.other);
  let problem = "";
  try {
    const tested = await walk.open(view.sample, view.list);
    // Somebody may have gone on meanwhile.
    if (number !== restoring) return;
    if (tested) samples = [...samples.filter(({ id }) => !isTested(id)), tested];
  } catch (refusal) {
    problem = refusal.message;
  }
  if (view.sample && !images.select(view.sample)) problem ||= "The link names a sample that is not here.";
  walk.link(models.name, comparison.name);
  walk.show(images.sample);
  suggest();
  reset();
  byId("image-error").textContent = problem;
  const text = view.question ?? (isTested(images.sample) ? walk.question : null);
  question.value = text ?? suggestions()[0].text;
  // An answer about another image than the link's would mislead.
  if (text && !problem) ask({ step: view.step, edits: view.edits, push: false });
}

async function start() {
  byId("stage-image").addEventListener("load", fitStage);
  showImage();
  let vocabulary;
  try {
    [samples, vocabulary] = await Promise.all([getSamples(), getVocabulary(), models.refresh()]);
  } catch (refusal) {
    byId("question-error").textContent = refusal.message;
    return;
  }
  whatIf = new WhatIf(showRun);
  steps = new Steps(
    (step) => {
      if (!asked) return;
      shownStep = step;
      writeAddress({ ...asked, edits: whatIf.text, step }, { replace: true });
      whatIf.show(step);
      comparison.mark(step);
    },
    { idle: (t) => whatIf.idle(t), details: (t) => whatIf.details(t) },
  );
  known = new Set(vocabulary.words);
  closeCompletion = addCompletion(question, byId("completions"), vocabulary.words);
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("surprise").addEventListener("click", surprise);
  addEventListener("popstate", restore);
  await restore();
  document.body.dataset.ready = "";
}

start();
