// What node-ical makes of calendars: a line for each event with its UID, and start and end in seconds since 1970.
import { createRequire } from "node:module";

const [folder, ...files] = process.argv.slice(2);
const ical = createRequire(`${folder}/`)("node-ical");
for (const file of files) {
  for (const event of Object.values(ical.sync.parseFile(file))) {
    if (event.type === "VEVENT") {
      console.log(file, event.uid, event.start.getTime() / 1000, event.end.getTime() / 1000);
    }
  }
}
