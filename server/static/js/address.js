// The view in the page's address, so that a link reproduces it, with what was changed. Uploads never go into it.

export function readAddress() {
  const given = new URLSearchParams(location.search);
  const step = Number.parseInt(given.get("step") ?? "", 10);
  return {
    sample: given.get("sample"),
    question: given.get("question"),
    model: given.get("model"),
    edits: given.get("edits") ?? "",
    other: given.get("other"),
    list: given.get("list"),
    step: Number.isNaN(step) ? null : step,
  };
}

export function writeAddress({ sample, question, model, edits, other, list, step }, { replace }) {
  const query = new URLSearchParams();
  if (sample) query.set("sample", sample);
  query.set("question", question);
  query.set("model", model);
  if (edits) query.set("edits", edits);
  if (other) query.set("other", other);
  if (list !== null) query.set("list", list);
  if (step !== null) query.set("step", String(step));
  const address = `?${query}`;
  if (address === location.search) return;
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
}
