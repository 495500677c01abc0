// Local times, and uploads by drop or choice. Without it the listing is read as
// it is.
"use strict";

const main = document.getElementById("listing");
const list = document.getElementById("list");
const uploads = document.getElementById("uploads");

function localTimes(root) {
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const t of root.querySelectorAll("time")) {
    const at = new Date(t.dateTime);
    t.title = at.toString();
    t.textContent = format.format(at);
  }
}
localTimes(list);

// refresh puts the current listing in the place of this one.
async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["list", "summary"]) {
    document.getElementById(id).replaceChildren(...page.getElementById(id).childNodes);
  }
  localTimes(list);
  showScripted();
}

function showScripted() {
  for (const e of document.querySelectorAll(".needs-script")) e.hidden = false;
}

// send puts one file; it resolves to the status, 0 without an answer.
function send(file, headers, progress) {
  return new Promise((resolve) => {
    const x = new XMLHttpRequest();
    x.open("PUT", location.pathname + encodeURIComponent(file.name));
    for (const [name, value] of Object.entries(headers)) x.setRequestHeader(name, value);
    x.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
    x.onload = () => resolve(x.status);
    x.onerror = x.onabort = () => resolve(0);
    x.send(file);
  });
}

function why(status) {
  switch (status) {
    case 0: return "the connection broke";
    case 401: case 403: return "not allowed";
    case 412: return "exists already, left as it is";
    case 423: return "locked by somebody";
    case 503: return "the server is busy";
    case 507: return "no space left";
    default: return "failed (" + status + ")";
  }
}

async function upload(file) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  const state = document.createElement("span");
  const bar = document.createElement("progress");
  name.textContent = file.name;
  name.className = "what";
  state.className = "quiet";
  bar.max = 1;
  bar.value = 0;
  row.append(name, state, bar);
  uploads.append(row);
  uploads.hidden = false;
  const progress = (share) => {
    bar.value = share;
    state.textContent = share < 1 ? Math.floor(share * 100) + " %" : "storing";
  };
  progress(0);
  let status = await send(file, { "If-None-Match": "*" }, progress);
  if (status === 412 && confirm("Replace " + file.name + "?")) {
    status = await send(file, {}, progress);
  }
  bar.remove();
  if (status >= 200 && status < 300) {
    row.className = "done";
    state.textContent = "stored";
    setTimeout(() => {
      row.remove();
      uploads.hidden = !uploads.children.length;
    }, 4000);
  } else {
    row.className = "failed";
    state.textContent = why(status);
  }
}

// uploadAll sends three files at a time.
async function uploadAll(files) {
  const queue = [...files];
  const worker = async () => {
    for (let f = queue.shift(); f; f = queue.shift()) await upload(f);
  };
  await Promise.all([worker(), worker(), worker()]);
  await refresh();
}

// dropped returns the files of a drop; folders are not among them.
function dropped(transfer) {
  const items = [...transfer.items].filter((i) => i.kind === "file");
  return items.filter((i) => !(i.webkitGetAsEntry && i.webkitGetAsEntry()?.isDirectory)).map((i) => i.getAsFile());
}

if (main && "upload" in main.dataset) {
  showScripted();
  const pick = document.getElementById("pick");
  const drop = document.getElementById("drop");
  pick.addEventListener("change", () => {
    uploadAll(pick.files);
    pick.value = "";
  });
  const hasFiles = (e) => [...e.dataTransfer.types].includes("Files");
  let depth = 0;
  addEventListener("dragenter", (e) => {
    if (hasFiles(e)) drop.hidden = ++depth === 0;
  });
  addEventListener("dragleave", (e) => {
    if (hasFiles(e)) drop.hidden = --depth <= 0;
  });
  addEventListener("dragover", (e) => {
    if (hasFiles(e)) e.preventDefault();
  });
  addEventListener("drop", (e) => {
    if (!hasFiles(e)) return;
    e.preventDefault();
    depth = 0;
    drop.hidden = true;
    uploadAll(dropped(e.dataTransfer));
  });
}
