// Requests to our own server. A refusal is thrown as a Refusal with the server's sentence.

export class Refusal extends Error {
  constructor(status, body) {
    super(body.detail ?? "The server could not answer.");
    this.status = status;
    this.code = body.code ?? "unknown";
    this.unknown = body.unknown ?? [];
  }
}

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { detail: "The server cannot be reached.", code: "network" });
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, body);
  return body;
}

export const getModels = () => request("api/models");
export const getSamples = () => request("api/samples");
export const check = (question) =>
  request(`api/check?${new URLSearchParams({ question })}`);
export const getTested = (test, row, list) =>
  request(`api/results/${encodeURIComponent(test)}/questions/${encodeURIComponent(row)}?${list}`);
export const getVocabulary = () => request("api/vocabulary");
export const download = (name) =>
  request(`api/models/${encodeURIComponent(name)}/download`, { method: "POST" });

export const getLayout = (question, model) =>
  request(`api/layout?${new URLSearchParams({ question, model })}`);

// edits are lists by name, as the API takes them.
export function predict({ sample, file, question, model, edits = {} }, signal) {
  const form = new FormData();
  form.append("question", question);
  form.append("model", model);
  if (file) form.append("image", file);
  else form.append("sample", sample);
  for (const [name, list] of Object.entries(edits)) form.append(name, JSON.stringify(list));
  return request("api/predict", { method: "POST", body: form, signal });
}
