// What the parts that htmx replaces need: the focus stays where it was, and screen readers hear what has changed.
// The words to say are in data-announce, on the new part or within it; the same words are not said twice.
"use strict";

const focusable = "a[href], button, input, select, textarea, summary, [tabindex]";
const announcement = document.getElementById("announcement");
let focused = null;

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
  const words = document.querySelector("[data-announce]")?.dataset.announce;
  if (words && announcement && announcement.textContent !== words) announcement.textContent = words;
});

// Insert a placeholder where the cursor is, in the subject or the text, whichever was used last.
let written = document.getElementById("body");
for (const field of document.querySelectorAll("#subject, #body")) {
  field.addEventListener("focus", () => { written = field; });
}
for (const button of document.querySelectorAll("[data-insert]")) {
  button.hidden = !written;
  button.addEventListener("click", () => {
    written.setRangeText(button.dataset.insert, written.selectionStart, written.selectionEnd, "end");
    written.dispatchEvent(new Event("input", { bubbles: true }));
    written.focus();
  });
}
