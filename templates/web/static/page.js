// Two small kindnesses; every page does its work without them.

// The zone of the visitor's device stands ready in the list, where no other was chosen.
const list = document.getElementById("zone");
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (list && own && !list.dataset.chosen) {
  list.add(new Option("That of this device", own), 1);
  list.selectedIndex = 1;
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
