// Charts of rates over time, in SVG. A chart has series that are stacked, and is
// drawn anew for each sample and each change of width.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 168, TOP = 10, BOTTOM = 22, LEFT = 36, RIGHT = 6;
const SPAN = 15 * 60 * 1000, SHORTEST = 2 * 60 * 1000; // ms
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

function element(parent, name, attributes, text) {
  const e = document.createElementNS(SVG, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

// ceiling returns a round number that is not below v, for the axis.
function ceiling(v) {
  if (v <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 4, 5, 10].find((m) => m * power >= v) * power;
}

function written(v) {
  return v >= 10 || Number.isInteger(v) ? compact.format(Math.round(v)) : v.toFixed(1);
}

class Chart {
  constructor(figure) {
    this.figure = figure;
    this.series = figure.dataset.series.split(" ");
    this.samples = [];
    this.legend = document.createElement("figcaption");
    this.svg = element(figure, "svg", { role: "img", height: HEIGHT, "aria-label": figure.getAttribute("aria-label") });
    figure.append(this.legend);
    this.values = this.series.map((name, i) => {
      const item = document.createElement("span");
      const value = document.createElement("b");
      item.className = "key s" + i + " " + name;
      item.append(name + " ", value);
      this.legend.append(item);
      return value;
    });
    this.time = document.createElement("span");
    this.time.className = "quiet";
    this.legend.append(this.time);
    new ResizeObserver(() => this.draw()).observe(figure);
    this.svg.addEventListener("pointermove", (e) => this.point(e.offsetX));
    this.svg.addEventListener("pointerleave", () => this.point(null));
  }

  set(samples) {
    this.samples = samples;
    this.draw();
  }

  // point shows the sample at x, or the last one.
  point(x) {
    this.pointed = x;
    this.mark();
  }

  mark() {
    const all = this.samples;
    if (!all.length || !this.x) return;
    let chosen = all[all.length - 1];
    this.cursor?.remove();
    this.cursor = null;
    if (this.pointed !== undefined && this.pointed !== null) {
      for (const s of all) {
        if (Math.abs(this.x(s.at) - this.pointed) < Math.abs(this.x(chosen.at) - this.pointed)) chosen = s;
      }
      const x = this.x(chosen.at);
      this.cursor = element(this.svg, "line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM });
    }
    this.series.forEach((name, i) => (this.values[i].textContent = written(chosen[name]) + "/s"));
    this.time.textContent = this.cursor ? new Date(chosen.at).toLocaleTimeString() : "";
  }

  draw() {
    const width = this.figure.clientWidth;
    if (!width) return;
    const all = this.samples;
    const end = all.length ? all[all.length - 1].at : Date.now();
    this.span = all.length ? Math.min(SPAN, Math.max(SHORTEST, end - all[0].at)) : SPAN;
    const top = ceiling(Math.max(0, ...all.map((s) => this.series.reduce((sum, n) => sum + s[n], 0))));
    this.x = (at) => LEFT + ((at - end + this.span) / this.span) * (width - LEFT - RIGHT);
    this.y = (v) => HEIGHT - BOTTOM - (v / top) * (HEIGHT - TOP - BOTTOM);
    this.svg.setAttribute("width", width);
    this.svg.replaceChildren();
    this.axes(width, top);
    let below = all.map(() => 0);
    this.series.forEach((name, i) => {
      const above = all.map((s, j) => below[j] + s[name]);
      this.layer(i, name, all, below, above);
      below = above;
    });
    this.cursor = null;
    this.mark();
  }

  axes(width, top) {
    for (const v of [0, top / 2, top]) {
      const y = Math.round(this.y(v)) + 0.5;
      element(this.svg, "line", { class: v ? "grid" : "base", x1: LEFT, x2: width - RIGHT, y1: y, y2: y });
      element(this.svg, "text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, written(v));
    }
    const last = HEIGHT - 5;
    element(this.svg, "text", { x: LEFT, y: last }, Math.round(this.span / 60000) + " min ago");
    element(this.svg, "text", { x: width - RIGHT, y: last, "text-anchor": "end" }, "now");
  }

  layer(i, name, all, below, above) {
    if (!all.some((s) => s[name] > 0)) return;
    const point = (j, v) => this.x(all[j].at).toFixed(1) + " " + this.y(v[j]).toFixed(1);
    const forward = all.map((_, j) => point(j, above));
    const back = all.map((_, j) => point(j, below)).reverse();
    element(this.svg, "path", { class: "area s" + i + " " + name, d: "M" + forward.join("L") + "L" + back.join("L") + "Z" });
    element(this.svg, "path", { class: "line s" + i + " " + name, d: "M" + forward.join("L") });
  }
}
