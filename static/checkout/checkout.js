// The page works without this: it only counts down, copies, and reloads when something happened.
"use strict";
const page = document.getElementById("checkout");
const POLL_MS = 5000;
const SILENCE_MS_MAX = 40000; // the stream speaks every 15 s

const said = document.getElementById("said");
const copy = async (text) => {
  try {
    await navigator.clipboard.writeText(text.textContent);
    return true;
  } catch (error) { // no clipboard outside HTTPS, or the browser refused it
    getSelection().selectAllChildren(text);
    return document.execCommand("copy");
  }
};
for (const button of document.querySelectorAll("[data-copy]")) {
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    if (!await copy(document.getElementById(button.dataset.copy))) return; // it stays selected
    button.style.minWidth = button.offsetWidth + "px";
    button.textContent = said.textContent = button.dataset.done;
    setTimeout(() => { button.textContent = label; said.textContent = ""; }, 1500);
  });
}

const countdown = document.getElementById("countdown");
const waiting = document.getElementById("waiting");
const waitingText = waiting && waiting.textContent;
const endsIn = (seconds) => performance.now() + Number(seconds) * 1000;
let endsAt = endsIn(page.dataset.seconds);
const two = (number) => String(number).padStart(2, "0");
const showTime = () => {
  const left = Math.max(0, Math.round((endsAt - performance.now()) / 1000));
  const hours = Math.floor(left / 3600);
  countdown.textContent = (hours ? hours + ":" : "") + two(Math.floor(left / 60) % 60) + ":" + two(left % 60);
  countdown.hidden = left === 0;
  const text = left === 0 ? waiting.dataset.checking : waitingText;
  if (waiting.textContent !== text) waiting.textContent = text;
  for (const part of document.querySelectorAll("[data-until-closed]")) part.hidden = left === 0;
};
if (countdown) { showTime(); setInterval(showTime, 1000); }

const CHANGED = "alatau-pay-changed";
try {
  const outcome = document.getElementById("outcome");
  if (sessionStorage.getItem(CHANGED) && outcome) outcome.focus();
  sessionStorage.removeItem(CHANGED);
} catch (error) { /* no storage: the title still says it */ }

const take = (state) => {
  if (state.version !== page.dataset.version) {
    if (state.stage === "paid" && navigator.vibrate) navigator.vibrate(200);
    try { sessionStorage.setItem(CHANGED, "1"); } catch (error) { /* no storage */ }
    location.reload();
    return;
  }
  const told = endsIn(state.seconds_left);
  if (Math.abs(told - endsAt) > 1500) endsAt = told;
  document.querySelectorAll(".payments li").forEach((item, number) => {
    const payment = state.payments[number];
    const confirming = item.querySelector(".confirming");
    const isFinal = payment.state === "final";
    item.querySelector(".final").hidden = !isFinal;
    if (!confirming) return;
    confirming.hidden = isFinal;
    if (payment.needed) confirming.querySelector("b").textContent = payment.confirmations;
  });
};
const poll = async () => {
  try { take(await (await fetch(page.dataset.poll)).json()); } catch (error) { /* offline: the next poll asks again */ }
};
if (page.dataset.stage !== "paid") {
  const stream = new EventSource(page.dataset.live);
  let heardAt = performance.now();
  stream.addEventListener("message", (event) => { heardAt = performance.now(); take(JSON.parse(event.data)); });
  const pollUnlessStreaming = () => {
    const isSilent = performance.now() - heardAt > SILENCE_MS_MAX;
    if (stream.readyState !== EventSource.OPEN || isSilent) poll();
  };
  setInterval(pollUnlessStreaming, POLL_MS);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) pollUnlessStreaming(); });
}
