// Small improvements: every page works without this script.

// Move the focus to the error summary of a form, so that it is read first.
document.querySelector("[data-problems]")?.focus();

// The words to show; they are attributes of the script, in the language of the page.
const words = document.currentScript.dataset;

// Preselect the time zone of the visitor's device, unless another was chosen: on this page, before, or by going back.
const list = document.getElementById("zone");
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (list && own && !list.dataset.chosen && !("again" in list.dataset) && !list.value) {
  list.add(new Option(words.device, own), 1);
  list.selectedIndex = 1;
}

// If no time zone was chosen, fetch the page again in the zone of the device and replace the times. The address of the
// page stays the same, so that a visitor who shares it does not share their zone. The list of zones is not changed, the
// focus stays where it was, and screen readers are told about the change.
const local = document.querySelectorAll("[data-local]");
const lang = new URLSearchParams(location.search).get("lang");
if (local.length && own && !new URLSearchParams(location.search).has("zone")) {
  fetch(`${location.pathname}?${new URLSearchParams({ zone: own, ...(lang && { lang }) })}`)
    .then((answer) => (answer.ok ? answer.text() : ""))
    .then((text) => {
      const localPage = new DOMParser().parseFromString(text, "text/html");
      const place = localPage.querySelector("[data-local] .city")?.textContent;
      for (const part of local) swap(part, localPage.getElementById(part.id));
      const announcement = document.querySelector("[data-announcement]");
      if (place && announcement) announcement.textContent = words.shown.replace("{place}", place);
    })
    .catch(() => {});
}

function swap(part, replacement) {
  if (!replacement) return;
  const focused = [...part.querySelectorAll("a, button")].indexOf(document.activeElement);
  part.replaceWith(document.adoptNode(replacement));
  if (focused >= 0) replacement.querySelectorAll("a, button")[focused]?.focus({ preventScroll: true });
}

// Copy the address beside a copy button.
for (const button of document.querySelectorAll("[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  const status = document.querySelector(`[data-copied="${button.dataset.copy}"]`);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      status.textContent = words.copied;
    } catch {
      status.textContent = words.press;
    }
  });
}
