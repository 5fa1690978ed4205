// Sends a personalised message of the same size to N recipients over nodemailer's pool of ten connections; prints the
// time taken as one JSON line.
const nodemailer = require("nodemailer");
const [port, count] = process.argv.slice(2).map(Number);
const text = (m) => `Dear ${m.name},\n${"See you on Thursday, and bring a friend.\n".repeat(60)}Leave: ${m.leave}\n`;
const html = (m) =>
  `<p>Dear ${m.name},</p>${"<p>See you on Thursday, and bring a friend.</p>\n".repeat(200)}<a href="${m.leave}">Leave</a>`;

async function main() {
  const pool = nodemailer.createTransport({
    host: "127.0.0.1", port, secure: false, ignoreTLS: true, pool: true, maxConnections: 10, maxMessages: Infinity,
  });
  const begun = process.hrtime.bigint();
  const before = process.cpuUsage();
  let next = 0;
  const sendShare = async () => {
    while (next < count) {
      const number = next++;
      const m = { name: `Member ${number}`, leave: `https://meet.example.org/u/${String(number).padStart(34, "0")}` };
      await pool.sendMail({
        from: "meetings@example.org", to: `member.${number}@example.org`, subject: "Conversation for Kindness",
        text: text(m), html: html(m),
      });
    }
  };
  await Promise.all(Array.from({ length: 20 }, sendShare));
  const used = process.cpuUsage(before);
  console.log(JSON.stringify({
    sent: count, seconds: Number(process.hrtime.bigint() - begun) / 1e9, cpu: (used.user + used.system) / 1e6,
    megabytes: process.resourceUsage().maxRSS / 1024,
  }));
  pool.close();
}
main();
