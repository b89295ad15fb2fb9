// Small helpers; text always goes in as text, never as HTML.

export const byId = (id) => document.getElementById(id);

// make("li", {class: "word", "aria-current": "step"}, "text", child)
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

export const percent = (share) => (share >= 0.995 ? "100 %" : share < 0.005 ? "0 %" : `${Math.round(100 * share)} %`);

// A row of a bar chart: name, bar, figure.
export function bar(name, share) {
  const fill = make("span", { class: "fill" });
  fill.style.inlineSize = `${100 * share}%`;
  return make(
    "li",
    {},
    make("span", { class: "name" }, name),
    make("span", { class: "track", "aria-hidden": "true" }, fill),
    make("span", { class: "figure" }, percent(share)),
  );
}

export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
