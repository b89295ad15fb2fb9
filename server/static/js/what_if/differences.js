// What differs at a step between two runs, the model's own and the one that is shown, in words.

import { describeLevels } from "../draw.js";

const APART = 0.25; // of all attention, from which on two distributions differ visibly
const LOUD = 0.12; // share from which on a word counts as listened to

const apart = (a, b) => a.reduce((sum, share, index) => sum + Math.abs(share - b[index]), 0) / 2 >= APART;

export const heard = ({ word_attention: shares }, words) => {
  const loud = words.filter((_, s) => shares[s] >= LOUD);
  return loud.length ? `“${loud.join(" ")}”` : "no word in particular";
};

export const looksAt = (step) => describeLevels(step.stack[step.pointer]);

// [what, sentence] each; none where both do the same.
export function differences(own, run, t) {
  const [before, after] = [own.steps[t], run.steps[t]];
  // Runs of two models may have other modules.
  const title = (of, { module: name }) => of.modules.find((module) => module.name === name).title;
  const found = [];
  if (before.module !== after.module) {
    found.push(["module", `${title(run, after)} instead of ${title(own, before)}`]);
  }
  if (apart(before.word_attention, after.word_attention)) {
    found.push(["words", `listens to ${heard(after, run.words)} instead of ${heard(before, own.words)}`]);
  }
  if (apart(before.image_attention.flat(), after.image_attention.flat())) {
    found.push(["map", `its map is ${looksAt(after)}, and was ${looksAt(before)}`]);
  }
  if (before.pointer !== after.pointer) {
    found.push(["stack", `the stack's top is at place ${after.pointer}, and was at ${before.pointer}`]);
  }
  return found;
}
