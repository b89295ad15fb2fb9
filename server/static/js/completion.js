// Completes the word at the cursor from the vocabulary: a combobox with a list of words. Enter
// without a chosen word sends the form, as in a field of one line.

import { make } from "./dom.js";

const MOST = 7;

export function addCompletion(input, list, words) {
  let active = -1;

  const pieceAtCursor = () => {
    const before = input.value.slice(0, input.selectionStart ?? input.value.length);
    return /[a-z0-9]+$/i.exec(before)?.[0] ?? "";
  };

  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };

  const choose = (word) => {
    const end = input.selectionStart;
    const start = end - pieceAtCursor().length;
    const after = input.value.slice(end);
    const space = after.startsWith(" ") ? "" : " ";
    input.value = input.value.slice(0, start) + word + space + after;
    input.setSelectionRange(start + word.length + 1, start + word.length + 1);
    close();
  };

  const show = () => {
    const piece = pieceAtCursor().toLowerCase();
    const fitting = words
      .filter((word) => piece && word.startsWith(piece) && word !== piece)
      .slice(0, MOST);
    if (fitting.length === 0) return close();
    list.replaceChildren(
      ...fitting.map((word, index) => {
        const option = make("li", { role: "option", id: `completion-${index}`, "aria-selected": "false" }, word);
        // On pointerdown, before the input loses the focus.
        option.addEventListener("pointerdown", (event) => {
          event.preventDefault();
          choose(word);
        });
        return option;
      }),
    );
    active = -1;
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    input.removeAttribute("aria-activedescendant");
  };

  const move = (by) => {
    const options = [...list.children];
    active = (active + by + options.length) % options.length;
    options.forEach((option, index) => option.setAttribute("aria-selected", String(index === active)));
    input.setAttribute("aria-activedescendant", options[active].id);
  };

  input.addEventListener("input", show);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (list.hidden || active < 0)) {
      event.preventDefault();
      close();
      input.form.requestSubmit();
      return;
    }
    if (list.hidden) return;
    if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(active < 0 ? 0 : -1);
    else if (event.key === "Escape") close();
    else if ((event.key === "Enter" || event.key === "Tab") && active >= 0) choose(list.children[active].textContent);
    else return;
    event.preventDefault();
  });
  return close;
}
