// What ical.js makes of calendars: a line for each event with its UID, and start and end in seconds since 1970.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, ...files] = process.argv.slice(2);
const required = createRequire(`${folder}/`)("ical.js");
const ICAL = required.default ?? required;
for (const file of files) {
  const calendar = new ICAL.Component(ICAL.parse(readFileSync(file, "utf8")));
  for (const component of calendar.getAllSubcomponents("vevent")) {
    const event = new ICAL.Event(component);
    console.log(file, event.uid, event.startDate.toJSDate() / 1000, event.endDate.toJSDate() / 1000);
  }
}
