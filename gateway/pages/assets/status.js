// Keeps the status page current: parts come rendered, samples feed the charts.
"use strict";

for (const e of document.querySelectorAll(".needs-script")) e.hidden = false;

const charts = [...document.querySelectorAll(".chart")].map((f) => new Chart(f));
const live = document.getElementById("live");
const shown = new Map(); // what each part was last set to
let samples = [];

// put replaces what has changed, and leaves alone what somebody is selecting.
function put(id, html) {
  const e = document.getElementById(id);
  if (!e || shown.get(id) === html) return;
  const selection = getSelection();
  if (selection && !selection.isCollapsed && e.contains(selection.anchorNode)) return;
  e.innerHTML = html; // made and escaped by the server
  shown.set(id, html);
}

function add(more) {
  const last = samples.length ? samples[samples.length - 1].at : 0;
  samples.push(...more.filter((s) => s.at > last));
  const end = samples.length ? samples[samples.length - 1].at : 0;
  samples = samples.filter((s) => s.at > end - SPAN);
  for (const c of charts) c.set(samples);
}

const source = new EventSource("/-/api/events");
source.addEventListener("state", (e) => {
  const state = JSON.parse(e.data);
  for (const [id, html] of Object.entries(state.parts)) put(id, html);
  add(state.samples);
});
source.onopen = () => {
  live.hidden = false;
  live.className = "live on";
  live.textContent = "live";
};
source.onerror = () => {
  live.hidden = false;
  live.className = "live off";
  live.textContent = "connecting";
};
