// What the parts that htmx replaces need: the focus stays where it was, and screen readers hear what has changed.
// The words to say are in data-announce, on an element with an id; the same words are not said twice.
"use strict";

const focusable = "a[href], button, input, select, textarea, summary, [tabindex]";
const announcement = document.getElementById("announcement");
let focused = null;
const said = {};

// Move the focus to the error summary of a form, so that it is read first.
document.querySelector("[data-problems]")?.focus();

document.addEventListener("htmx:before:swap", () => {
  const part = document.activeElement?.closest("[data-live]");
  focused = part?.id ? { id: part.id, index: [...part.querySelectorAll(focusable)].indexOf(document.activeElement) } : null;
});

document.addEventListener("htmx:after:swap", () => {
  const part = focused && document.getElementById(focused.id);
  if (part && (!document.activeElement || document.activeElement === document.body)) {
    const again = part.querySelectorAll(focusable)[focused.index];
    if (!again) part.tabIndex = -1;
    (again ?? part).focus({ preventScroll: true });
  }
  for (const { id, dataset } of document.querySelectorAll("[data-announce]")) {
    if (!dataset.announce || said[id] === dataset.announce) continue;
    said[id] = dataset.announce;
    if (announcement) announcement.textContent = dataset.announce;
  }
});

// Insert what was chosen from a menu where the cursor is, in the subject or the text, whichever was used last.
let written = document.getElementById("body");
for (const field of document.querySelectorAll("#subject, #body")) {
  field.addEventListener("focus", () => { written = field; });
}
for (const menu of document.querySelectorAll("[data-insert-menu]")) {
  menu.hidden = false;
  const button = menu.querySelector("[data-insert]");
  button.addEventListener("click", () => {
    const words = document.getElementById(button.dataset.insert).value;
    written.setRangeText(words, written.selectionStart, written.selectionEnd, "end");
    written.dispatchEvent(new Event("input", { bubbles: true }));
    written.focus();
  });
}
