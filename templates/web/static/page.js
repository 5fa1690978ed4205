// Small kindnesses; every page does its work without them.

// What is wrong with a form is read first.
document.querySelector("[data-problems]")?.focus();

// The zone of the visitor's device stands ready in the list, unless another was chosen: here, before, or by going back.
const list = document.getElementById("zone");
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (list && own && !list.dataset.chosen && !("again" in list.dataset) && !list.value) {
  list.add(new Option("That of this device", own), 1);
  list.selectedIndex = 1;
}

// Where nobody chose a zone, what stands by the clocks of home is asked for once more by those of the device. The page
// keeps its address: who passes it on does not pass on their zone. The list of zones is not touched, what has the focus
// keeps it, and the change is told.
const local = document.querySelectorAll("[data-local]");
if (local.length && own && !new URLSearchParams(location.search).has("zone")) {
  fetch(`${location.pathname}?zone=${encodeURIComponent(own)}`)
    .then((answer) => (answer.ok ? answer.text() : ""))
    .then((text) => {
      const there = new DOMParser().parseFromString(text, "text/html");
      const place = there.querySelector("[data-local] .city")?.textContent;
      for (const part of local) swap(part, there.getElementById(part.id));
      const told = document.querySelector("[data-told]");
      if (place && told) told.textContent = `Times are now shown as they are ${place}, as on this device.`;
    })
    .catch(() => {});
}

function swap(part, its) {
  if (!its) return;
  const focused = [...part.querySelectorAll("a, button")].indexOf(document.activeElement);
  part.replaceWith(document.adoptNode(its));
  if (focused >= 0) its.querySelectorAll("a, button")[focused]?.focus({ preventScroll: true });
}

// A button copies the address beside it.
for (const button of document.querySelectorAll("[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  const said = document.querySelector(`[data-said="${button.dataset.copy}"]`);
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      said.textContent = "Copied";
    } catch {
      said.textContent = "Press Ctrl+C to copy it";
    }
  });
}
