// The page: what is asked goes to the server, what comes back is shown step by step.

import { readAddress, writeAddress } from "./address.js";
import { hideBoxes, showAnswer } from "./answer.js";
import { check, getSamples, getVocabulary, predict } from "./api.js";
import { addCompletion } from "./completion.js";
import { byId, make } from "./dom.js";
import { Images } from "./images.js";
import { Models } from "./models.js";
import { Steps } from "./steps.js";
import { doubts, hideTrust, showTrust } from "./trust.js";

const IMAGE_CODES = new Set(["not_an_image", "damaged_image", "empty_image", "tiny_image", "unclear_image", "too_many_pixels", "too_large"]);
const ASKING = /^(what|how|is|are|do|does|has|have)\b[^?]*$/i;

const STAGE_HEIGHT = 420; // pixels at most

const question = byId("question");
let known = new Set(); // words
let samples = [];
let steps = null;
let asked = null; // what the shown answer is about: {sample, question, model}
let running = null; // AbortController of the request under way
let closeCompletion = () => {};

const images = new Images(imageChanged);
const models = new Models(suggest);

function imageChanged() {
  reset();
  suggest();
}

// Back to an image without an answer.
function reset() {
  running?.abort();
  asked = null;
  steps?.clear();
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
  if (tasks.includes("vqa")) kinds.push(sample?.questions ?? GENERAL.questions);
  if (tasks.includes("loc")) kinds.push(sample?.expressions ?? GENERAL.expressions);
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

// Ask what the form says. step: which one to show; push: whether it is a new page of the history.
async function ask({ step = null, push = true } = {}) {
  closeCompletion();
  clearErrors();
  running?.abort();
  const controller = new AbortController();
  running = controller;
  // Questions of the training data end with a question mark.
  if (ASKING.test(question.value.trim())) question.value = `${question.value.trim()}?`;
  const wanted = { sample: images.sample, question: question.value.trim(), model: models.name };
  byId("status").textContent = "The answer is being computed.";
  setBusy(true);
  try {
    if (hasUnknownWord(wanted.question)) {
      const found = await check(wanted.question);
      if (found.unknown.length) return refused({ ...found, message: found.detail, code: "unknown_word" });
    }
    const prediction = await predict({ ...wanted, file: images.file }, controller.signal);
    asked = wanted;
    showImage();
    const answer = showAnswer(prediction, truthOf(wanted.question));
    showTrust(prediction);
    writeAddress({ ...wanted, step }, { replace: !push });
    steps.load(prediction, byId("stage-image"), step);
    byId("status").textContent = `Answer: ${answer}.${doubts(prediction)}`;
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
  images.select(pick(samples).id);
  imageChanged();
  question.value = pick(suggestions()).text;
  images.chosen.scrollIntoView({ block: "nearest", inline: "center" });
  ask();
}

// Show what the address says: on loading the page and on going back.
function restore() {
  const view = readAddress();
  if (view.model) models.choose(view.model);
  if (view.sample && !images.select(view.sample)) {
    byId("image-error").textContent = "The link names a sample that is not here.";
  }
  suggest();
  reset();
  question.value = view.question ?? suggestions()[0].text;
  if (view.question) ask({ step: view.step, push: false });
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
  steps = new Steps((step) => {
    if (asked) writeAddress({ ...asked, step }, { replace: true });
  });
  known = new Set(vocabulary.words);
  closeCompletion = addCompletion(question, byId("completions"), vocabulary.words);
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("surprise").addEventListener("click", surprise);
  addEventListener("popstate", restore);
  restore();
  document.body.dataset.ready = "";
}

start();
