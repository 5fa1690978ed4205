"""Whether a page names the clock of each hour that it shows."""

HOURS_WITHOUT_A_CLOCK = r"""() => {
  const hour = /(?<![\d:.+−-])\d{1,2}:\d{2}(?!\d)(?: ?[ap]m)?/gu;
  // Beside the hour itself, and for all hours of a sentence or table.
  const until = "(?: to \\d{1,2}:\\d{2}(?: ?[ap]m)?)?(?: on \\p{Lu}\\p{L}+)?(?: \\(night\\))?,? ";
  const zone = "in \\p{Lu}|\\p{Lu}[\\p{L}_]+/\\p{Lu}|\\p{Lu}[\\p{L}’'. -]* \\(UTC|\\(?(?:UTC|your time|their time)";
  const beside = new RegExp(`^${until}(?:${zone})`, "u");
  const forAll = /own clock|\b(?:your|their) time\b/u;
  const zoned = /own clock|\b(?:your|their) time\b|\p{Lu}\S* time\b/u;
  const plain = (element) => (element?.textContent ?? "").replace(/\s+/gu, " ").trim();
  const found = [];
  const check = (words, about) => {
    const text = words.replace(/\s+/gu, " ").trim();
    if (forAll.test(`${text} ${about}`)) return;
    for (const match of text.matchAll(hour)) {
      if (!beside.test(text.slice(match.index + match[0].length))) found.push(text.slice(0, 200));
    }
  };
  const blocks = "p, li, td, th, caption, dt, dd, h1, h2, h3, summary, legend, label, option, pre, div, body";
  const seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement, block = parent.closest(blocks);
    if (seen.has(block) || parent.closest("script, style, textarea")) continue;
    if (!/\d:\d{2}/u.test(walker.currentNode.data)) continue;
    seen.add(block);
    const table = block.closest("tr")?.closest("table"), next = plain(block.nextElementSibling);
    if (block.matches("pre")) for (const paragraph of block.textContent.split(/\n\s*\n/u)) check(paragraph, "");
    else check(plain(block) + (next.startsWith("in ") ? ` ${next}` : ""), plain(table?.caption));
  }
  for (const field of document.querySelectorAll("input[type=time]")) {
    const words = [...field.labels, field.closest("fieldset")].map(plain).join(" ");
    if (!zoned.test(words)) found.push(`the field “${words}”`);
  }
  return found;
}"""
"""Returns the sentences, cells of tables and fields with an hour whose clock is named neither in nor beside them."""
