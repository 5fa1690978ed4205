// Two small kindnesses; every page does its work without them.

// The zone of the visitor's device stands ready in the list, where no other was chosen.
const list = document.getElementById("zone");
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (list && own && !list.dataset.chosen) {
  list.add(new Option("That of this device", own), 1);
  list.selectedIndex = 1;
}

// Where nobody chose a zone, what stands by the clocks of home is asked for once more by those of the device. The page
// keeps its address: who passes it on does not pass on their zone.
const local = document.querySelectorAll("[data-local]");
if (local.length && own && !new URLSearchParams(location.search).has("zone")) {
  fetch(`${location.pathname}?zone=${encodeURIComponent(own)}`)
    .then((answer) => (answer.ok ? answer.text() : ""))
    .then((text) => {
      const there = new DOMParser().parseFromString(text, "text/html");
      for (const part of local) {
        const its = there.getElementById(part.id);
        if (its) part.replaceWith(document.adoptNode(its));
      }
    })
    .catch(() => {});
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
