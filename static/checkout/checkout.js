// The page works without this: it only counts down, copies, and reloads when something happened.
"use strict";
const page = document.getElementById("checkout");
const open = ["new", "processing"];

for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = button.dataset.done;
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}

const countdown = document.getElementById("countdown");
const endsAt = performance.now() + Number(page.dataset.seconds) * 1000;
const showTime = () => {
  const left = Math.max(0, Math.round((endsAt - performance.now()) / 1000));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(left / 3600);
  countdown.textContent = (hours ? hours + ":" : "") + two(Math.floor(left / 60) % 60) + ":" + two(left % 60);
};
if (countdown) { showTime(); setInterval(showTime, 1000); }

const take = (state) => {
  if (state.version !== page.dataset.version) {
    if (state.status === "settled" && navigator.vibrate) navigator.vibrate(200);
    location.reload();
  }
};
const poll = async () => {
  try { take(await (await fetch(page.dataset.poll)).json()); } catch (error) { /* offline: the next poll asks again */ }
};
if (open.includes(page.dataset.status)) {
  const stream = new EventSource(page.dataset.live);
  stream.addEventListener("message", (event) => take(JSON.parse(event.data)));
  setInterval(poll, 5000);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
}
