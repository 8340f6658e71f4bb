"use strict";
// Draws the timeline and the links over time from the data in the page. Text from the trace only
// ever becomes text: of a canvas or of a node's textContent.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const LABEL = 150, LANE = 18, AXIS = 22;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name);
  const showTime = (us) => {
    const size = Math.abs(us);
    if (size >= 1e6) return (us / 1e6).toFixed(3) + " s";
    if (size >= 1e3) return (us / 1e3).toFixed(3) + " ms";
    return us.toFixed(3) + " us";
  };
  const fitted = (canvas, height) => {
    const scale = window.devicePixelRatio || 1, width = canvas.clientWidth;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    return [pen, width];
  };
  const showTip = (event, text) => {
    tip.textContent = text;
    tip.style.display = text ? "block" : "none";
    const right = event.clientX + 14 + tip.offsetWidth > window.innerWidth;
    tip.style.left = Math.max(0, event.clientX + (right ? -14 - tip.offsetWidth : 14)) + "px";
    tip.style.top = Math.min(event.clientY + 14, window.innerHeight - tip.offsetHeight) + "px";
  };
  const hideTip = () => { tip.style.display = "none"; };

  const timeline = document.getElementById("timeline");
  const lanes = data.lanes.map((lane) => ({ label: lane, items: [], longest: 0 }));
  for (const row of data.items) {
    const lane = lanes[row[0]];
    lane.items.push(row);
    lane.longest = Math.max(lane.longest, row[2]);
  }
  for (const lane of lanes) lane.items.sort((a, b) => a[1] - b[1]);
  const whole = [data.from, Math.max(data.to, data.from + 1e-3)];
  let view = whole.slice();

  const firstAt = (lane, time) => {
    let low = 0, high = lane.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lane.items[middle][1] < time) low = middle + 1; else high = middle;
    }
    return low;
  };
  const draw = () => {
    const [pen, width] = fitted(timeline, lanes.length * LANE + AXIS);
    const perUs = (width - LABEL) / (view[1] - view[0]);
    const colours = {};
    for (const name of data.styles) colours[name] = colour(name);
    lanes.forEach((lane, i) => {
      const top = i * LANE;
      if (i % 2) { pen.fillStyle = colour("stripe"); pen.fillRect(0, top, width, LANE); }
      let reached = -1, style = -1;
      for (let k = firstAt(lane, view[0] - lane.longest); k < lane.items.length; k++) {
        const item = lane.items[k];
        if (item[1] > view[1]) break;
        const left = Math.max(LABEL, LABEL + (item[1] - view[0]) * perUs);
        const right = Math.min(width, LABEL + (item[1] + item[2] - view[0]) * perUs);
        if (right < LABEL || (right <= reached && item[3] === style)) continue;
        pen.fillStyle = colours[data.styles[item[3]]];
        pen.fillRect(left, top + 2, Math.max(right - left, 1), LANE - 4);
        reached = Math.max(right, left + 1); style = item[3];
      }
      pen.fillStyle = colour("back"); pen.fillRect(0, top, LABEL - 4, LANE);
      pen.fillStyle = colour("text"); pen.fillText(lane.label, 4, top + LANE / 2, LABEL - 10);
    });
    pen.fillStyle = colour("faint");
    for (let i = 0; i <= 5; i++) {
      pen.textAlign = i === 5 ? "right" : i ? "center" : "left";
      const at = LABEL + (i / 5) * (width - LABEL);
      pen.fillText(showTime(view[0] + (i / 5) * (view[1] - view[0])), at,
                   lanes.length * LANE + AXIS / 2);
    }
    pen.textAlign = "left";
  };
  const timeAt = (event) => {
    const box = timeline.getBoundingClientRect();
    const share = (event.clientX - box.left - LABEL) / Math.max(box.width - LABEL, 1);
    return view[0] + share * (view[1] - view[0]);
  };
  const move = (begin, end) => {
    const length = Math.min(Math.max(end - begin, 1e-3), whole[1] - whole[0]);
    const from = Math.min(Math.max(begin, whole[0]), whole[1] - length);
    view = [from, from + length];
    draw();
  };
  const zoom = (factor, time) =>
    move(time - (time - view[0]) * factor, time + (view[1] - time) * factor);
  const itemAt = (event) => {
    const lane = lanes[Math.floor((event.clientY - timeline.getBoundingClientRect().top) / LANE)];
    if (!lane) return null;
    const time = timeAt(event), slack = 2 * (view[1] - view[0]) / timeline.clientWidth;
    for (let k = firstAt(lane, time + slack) - 1; k >= 0; k--) {
      const item = lane.items[k];
      if (item[1] + item[2] >= time - slack) return item;
      if (item[1] < time - slack - lane.longest) return null;
    }
    return null;
  };
  const told = (item) => {
    const args = item.slice(5).map((value, i) => {
      const [name, isText] = data.columns[item[4]][i];
      return [name, isText ? data.texts[value] : value];
    });
    const lines = args.filter(([, value]) => value !== "" && value !== -1)
      .map(([name, value]) => name + ": " + value);
    return [...lines, "begin: " + showTime(item[1]), "time: " + showTime(item[2])].join("\n");
  };
  timeline.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), timeAt(event));
  }, { passive: false });
  let held = null;
  timeline.addEventListener("pointerdown", (event) => {
    held = event.clientX;
    timeline.setPointerCapture(event.pointerId);
  });
  timeline.addEventListener("pointerup", () => { held = null; });
  timeline.addEventListener("pointermove", (event) => {
    if (held === null) {
      const item = itemAt(event);
      if (item) showTip(event, told(item)); else hideTip();
      return;
    }
    const step = (held - event.clientX) * (view[1] - view[0]) / (timeline.clientWidth - LABEL);
    held = event.clientX;
    move(view[0] + step, view[1] + step);
  });
  timeline.addEventListener("pointerleave", hideTip);
  timeline.addEventListener("dblclick", () => move(whole[0], whole[1]));
  timeline.addEventListener("keydown", (event) => {
    const middle = (view[0] + view[1]) / 2, tenth = (view[1] - view[0]) / 10;
    const act = {
      "+": () => zoom(0.7, middle), "=": () => zoom(0.7, middle), "-": () => zoom(1 / 0.7, middle),
      ArrowLeft: () => move(view[0] - tenth, view[1] - tenth),
      ArrowRight: () => move(view[0] + tenth, view[1] + tenth),
      Home: () => move(whole[0], whole[1]),
    }[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  const heat = document.getElementById("heat");
  const drawHeat = () => {
    if (!heat) return;
    const rows = data.rates.gbps, ROW = 16;
    const [pen, width] = fitted(heat, rows.length * ROW + AXIS);
    const most = Math.max(1e-9, ...rows.map((row) => row.rates.reduce((a, b) => Math.max(a, b), 0)));
    rows.forEach((row, i) => {
      const cell = (width - LABEL) / row.rates.length;
      row.rates.forEach((rate, k) => {
        pen.globalAlpha = 1; pen.fillStyle = colour("cold");
        pen.fillRect(LABEL + k * cell, i * ROW, cell, ROW - 1);
        pen.globalAlpha = rate / most; pen.fillStyle = colour("hot");
        pen.fillRect(LABEL + k * cell, i * ROW, cell, ROW - 1);
      });
      pen.globalAlpha = 1; pen.fillStyle = colour("text");
      pen.fillText(row.from + " -> " + row.to, 4, i * ROW + ROW / 2);
    });
    pen.fillStyle = colour("faint");
    pen.fillText("darkest or brightest: " + most.toFixed(1) + " GB/s", LABEL,
                 rows.length * ROW + AXIS / 2);
    heat.onpointermove = (event) => {
      const box = heat.getBoundingClientRect();
      const row = rows[Math.floor((event.clientY - box.top) / ROW)];
      const k = row ? Math.floor((event.clientX - box.left - LABEL) / (box.width - LABEL)
                                 * row.rates.length) : -1;
      if (!row || k < 0 || k >= row.rates.length) { hideTip(); return; }
      const begin = data.rates.from_us + k * data.rates.part_us;
      showTip(event, row.from + " -> " + row.to + "\n" + row.rates[k] + " GB/s\nfrom "
              + showTime(begin) + " for " + showTime(data.rates.part_us));
    };
    heat.onpointerleave = hideTip;
  };
  const all = () => { draw(); drawHeat(); };
  window.addEventListener("resize", all);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
  all();
})();
