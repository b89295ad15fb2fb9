// Edits of a run, by step: {module, words, from, box}, each null where the model's own stays.
// words are numbers of the question's words; from is the step of the model's own run whose words
// this one takes along when it moves. Nothing here changes an edit: all give new ones.

const NOTHING = "_NoOp";
const OWN = Object.freeze({ module: null, words: null, from: null, box: null });

export const noEdits = (run) => run.steps.map(() => OWN);
export const isEmpty = (edits) => edits.every((one) => Object.values(one).every((part) => part === null));

const withStep = (edits, step, change) =>
  edits.map((one, t) => (t === step ? { ...one, ...change } : one));

export const setModule = (edits, step, module) => withStep(edits, step, { module });
export const removeStep = (edits, step) => setModule(edits, step, NOTHING);
export const setWords = (edits, step, words) =>
  withStep(edits, step, { words: words?.length ? words : null, from: null });
export const setBox = (edits, step, box) => withStep(edits, step, { box });

// A module before a step of the run that is shown: what follows moves up by one, into the next step
// that does nothing, with its words. null if no step is free.
export function insertBefore(edits, run, step, module) {
  const free = run.steps.findIndex((one, t) => t >= step && one.module === NOTHING);
  if (free < 0) return null;
  const moved = (t) => {
    const one = edits[t];
    const from = one.words === null ? (one.from ?? t) : null;
    return { ...one, module: run.steps[t].module, from };
  };
  return edits.map((one, t) => {
    if (t < step || t > free) return one;
    return t === step ? { ...OWN, module } : moved(t - 1);
  });
}

// Module names instead of those of the model's own run; what was set besides goes.
export const setLayout = (own, names) =>
  own.steps.map((step, t) => (step.module === names[t] ? OWN : { ...OWN, module: names[t] }));

// What the API takes.
export function toRequest(edits, own) {
  const heard = ({ words, from }) => {
    if (words !== null) return words;
    if (from === null) return null;
    return Object.fromEntries(own.steps[from].word_attention.map((share, s) => [s, share]));
  };
  const lists = {
    layout: edits.map((one) => one.module),
    words: edits.map(heard),
    attention: edits.map((one) => one.box),
  };
  return Object.fromEntries(Object.entries(lists).filter(([, list]) => list.some((entry) => entry !== null)));
}

// As short text for an address, with steps counted from 1: "2m_NoOp*3w4.5*3b10.20.30.40".
export const toText = (edits) =>
  edits
    .flatMap(({ module, words, from, box }, t) => [
      module === null ? "" : `${t + 1}m${module}`,
      words === null ? "" : `${t + 1}w${words.join(".")}`,
      from === null ? "" : `${t + 1}f${from + 1}`,
      box === null ? "" : `${t + 1}b${box.map(Math.round).join(".")}`,
    ])
    .filter(Boolean)
    .join("*");

// What is not understood is left out.
export function fromText(text, run) {
  let edits = noEdits(run);
  for (const part of text.split("*")) {
    const [, number, kind, value] = /^(\d{1,3})([mwfb])(.{1,200})$/.exec(part) ?? [];
    const step = Number(number) - 1;
    if (!(step in edits)) continue;
    const numbers = value.split(".").map(Number);
    const whole = numbers.every(Number.isSafeInteger);
    if (kind === "m") edits = setModule(edits, step, value);
    else if (!whole) continue;
    else if (kind === "w") edits = setWords(edits, step, numbers);
    else if (kind === "f" && numbers[0] - 1 in edits) edits = withStep(edits, step, { from: numbers[0] - 1 });
    else if (kind === "b" && numbers.length === 4) edits = setBox(edits, step, numbers);
  }
  return edits;
}
