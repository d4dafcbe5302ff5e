"use strict";
// The page's own script: tables that sort and filter, charts that read out their values, and the
// comparison of two methods image by image. Text enters the page as text nodes only.
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const titles = page.rows.map((row) => row.title);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const text = (node) => node.textContent.replaceAll("\u00a0", " ").trim();
  const equation = (name, value) => `${name}\u00a0=\u00a0${value}`;
  const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
  const percent = (share) => (100 * share).toFixed(2);

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // Light and dark

  const theme = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let isDark = dark.matches;
  function paint() {
    document.documentElement.style.colorScheme = isDark === dark.matches ? "" : isDark ? "dark" : "light";
    theme.textContent = isDark ? "Light" : "Dark";
  }
  theme.addEventListener("click", () => { isDark = !isDark; paint(); });
  dark.addEventListener("change", () => { isDark = dark.matches; paint(); });
  paint();

  // Sorting: a heading's button goes from the table's own order through two others and back.

  const headings = (table) => [...[...table.tHead.rows].at(-1).cells];
  const value = (cell) => (cell ? Number.parseFloat(text(cell).replaceAll(",", "").replace("−", "-")) : NaN);

  function compare(column, words, sign) {
    return (one, other) => {
      const [a, b] = [one.cells[column], other.cells[column]];
      if (words) return sign * text(a).localeCompare(text(b), "en", { numeric: true });
      const [x, y] = [value(a), value(b)];
      // What is no number comes last in either direction.
      return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : sign * (x - y);
    };
  }

  for (const table of all("figure.table table, table.sortable")) {
    const body = table.tBodies[0];
    const own = [...body.rows];
    headings(table).forEach((heading, column, others) => {
      const words = heading.classList.contains("words");
      const orders = words ? ["ascending", "descending"] : ["descending", "ascending"];
      const button = element("button", { type: "button" }, ...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => {
        const next = orders[orders.indexOf(heading.ariaSort) + 1];
        for (const other of others) other.ariaSort = null;
        heading.ariaSort = next ?? null;
        const rows = [...own];
        if (next) rows.sort(compare(column, words, next === "ascending" ? 1 : -1));
        body.append(...rows);
      });
    });
  }

  // Showing methods and noise levels. A table tells by its headings what a row is of: columns
  // "Method", "minus" (what a difference is from), "λ" and "σ"; a column or a whole table is of one
  // noise level if its heading says "σ = 0.25".

  const filter = document.getElementById("filter");
  const chosen = (name) => all(`input[name=${name}]`, filter).filter((box) => box.checked).map((box) => box.value);
  const level = (heading) => text(heading).match(/σ = (\d+\.\d\d)/)?.[1];
  const views = new Set();
  const bars = new Map(); // of the views with a bar a row, the rows' titles
  const BAR = 24; // pixels
  // A long title that has a comma takes two lines beside its bar.
  const LABEL = "length(datum.label) > 22 ? split(replace(datum.label, regexp(', (?=[^,]*$)'), ',\\n'), '\\n') : datum.label";

  // What is read stays where it is on the screen while what stands above it grows or shrinks.
  function keepingPlace(change) {
    const top = (node) => node.getBoundingClientRect().top;
    const parts = all(".filtered :is(h2, h3, .scroll, .panels)");
    const anchor = parts.find((part) => part.getClientRects().length && top(part) >= filter.getBoundingClientRect().bottom);
    const before = anchor && top(anchor);
    change();
    if (anchor?.getClientRects().length) scrollBy(0, top(anchor) - before);
  }

  function show() {
    const [rows, sigmas] = [chosen("row"), chosen("sigma")];
    const hides = (sigma) => sigma !== undefined && !sigmas.includes(sigma);
    // What is best is best of all: of fewer methods or noise levels, other models would be.
    for (const table of all(".filtered table:not(#table-best *)")) {
      const heads = headings(table);
      const names = heads.map(text);
      const cell = (row, name) => (names.includes(name) ? text(row.cells[names.indexOf(name)]) : undefined);
      if (table.caption) table.closest(".scroll").hidden = hides(level(table.caption));
      for (const row of table.tBodies[0].rows) {
        const gone = ["Method", "minus"].some((name) => {
          const method = cell(row, name)?.replace(/ †$/, "");
          const title = titles.includes(method) ? method : `${method}, λ = ${cell(row, "λ")}`;
          return titles.includes(title) && !rows.includes(title);
        });
        row.hidden = gone || hides(cell(row, "σ"));
      }
      heads.forEach((head, column) => {
        for (const row of table.rows) row.cells[column].hidden = hides(level(head));
      });
    }
    for (const panel of all(".panels > *")) panel.hidden = hides(panel.dataset.sigma);
    for (const line of all(".reading tbody tr")) line.hidden = !rows.includes(line.dataset.row);
    for (const [view, present] of bars) view.height(BAR * present.filter((title) => rows.includes(title)).length);
    for (const view of views) view.signal("shown", rows).runAsync();
    filter.elements.none.hidden = rows.length === 0;
    filter.elements.all.hidden = rows.length === titles.length && sigmas.length === page.panels.length;
    dispatchEvent(new Event("resize")); // charts take the width that is there
  }
  filter.addEventListener("change", () => keepingPlace(show));
  filter.elements.none.addEventListener("click", () => {
    for (const box of all("input[name=row]", filter)) box.checked = false;
    keepingPlace(show);
  });
  filter.addEventListener("reset", () => setTimeout(() => keepingPlace(show))); // the boxes change after it

  // A heading that was jumped to must not lie under the filter.
  const makeRoom = () => { document.documentElement.style.scrollPaddingTop = `${filter.offsetHeight + 8}px`; };
  addEventListener("resize", makeRoom);

  // Charts

  async function draw(place, chart, parameters, datasets, properties) {
    const specification = Object.assign(structuredClone(page.charts[chart]), properties);
    specification.datasets = { ...specification.datasets, ...datasets };
    for (const parameter of specification.params) parameter.value = parameters[parameter.name];
    const { view } = await vegaEmbed(place, specification, {
      mode: "vega-lite",
      renderer: "svg",
      ast: true, // without eval, which the page's policy forbids
      actions: { export: true, source: false, compiled: false, editor: false },
      tooltip: { theme: "page" },
      downloadFileName: chart,
      logLevel: 1, // errors, but not a warning that a chart is empty
    });
    return view;
  }

  function key(row) {
    const holder = element("span");
    // An SVG of numbers and colours of our own.
    holder.innerHTML = `<svg class="key" viewBox="0 0 24 6" aria-hidden="true"><path d="M0 3H24" stroke="${row.colour}" stroke-dasharray="${row.dash.join(" ")}"/></svg>`;
    return holder.firstChild;
  }

  // Both make a panel in the page and return what draws its chart, once all panels have their width.

  function curvePanel(panel) {
    const last = panel.curves[0].mean.length - 1;
    const grid = panel.curves[0].mean.map((_, i) => (i < last ? Number((i * panel.step).toFixed(6)) : panel.cap));
    const seeds = Math.max(...panel.curves.map((curve) => curve.seeds));
    const lines = panel.curves.map((curve) => {
      const row = page.rows[curve.row];
      const number = element("td");
      const fewer = curve.seeds < seeds ? ` (${count(curve.seeds, "seed")})` : "";
      const line = element("tr", {}, element("td", { className: "words" }, key(row), row.title, fewer), number);
      line.dataset.row = row.title;
      return { line, number, curve };
    });
    const place = element("div", { className: "chart" });
    const slider = element("input", { type: "range", min: 0, max: last, value: 0, autocomplete: "off" });
    const at = element("output");
    const reading = element("table", { className: "reading" },
      element("thead", {}, element("tr", {}, element("th", { className: "words", scope: "col" }, `Method (${count(seeds, "seed")})`), element("th", { scope: "col" }, "Certified, %"))),
      element("tbody", {}, ...lines.map(({ line }) => line)));
    addPanel("curve-panels", panel, place, element("label", { className: "slider" }, at, slider), element("div", { className: "scroll" }, reading));

    let view;
    function read(index) {
      slider.value = index;
      at.textContent = equation("r", grid[index].toFixed(index < last ? 3 : 4).replace(/0$/, ""));
      slider.ariaValueText = text(at);
      for (const { number, curve } of lines) {
        number.replaceChildren(percent(curve.mean[index]), " ", element("span", { className: "spread" }, `± ${percent(curve.spread[index])}`));
      }
      view?.signal("at", grid[index]).runAsync();
    }
    slider.addEventListener("input", () => read(Number(slider.value)));
    read(0);

    return async () => {
      const curves = panel.curves.map((curve) => ({
        ...page.rows[curve.row],
        // Beyond the cap nothing is certified: the curves end in a drop to 0.
        radius: [...grid, panel.cap], mean: [...curve.mean, 0], low: [...curve.low, 0], high: [...curve.high, 0],
      }));
      const published = panel.published.map((point) => ({ ...point, colour: page.rows[point.row]?.colour ?? "currentColor" }));
      view = await draw(place, "curves", { shown: chosen("row"), at: 0, cap: panel.cap }, { curves, published });
      views.add(view);
      place.addEventListener("pointermove", (event) => {
        const left = place.querySelector("svg").getBoundingClientRect().left + view.padding().left + view.origin()[0];
        const radius = view.scale("x").invert(event.clientX - left);
        if (radius < 0 || radius > 1.05 * panel.cap) return;
        read(radius > (grid[last - 1] + panel.cap) / 2 ? last : Math.min(Math.round(radius / panel.step), last - 1));
      });
    };
  }

  function outcomePanel(panel) {
    const place = element("div", { className: "chart" });
    addPanel("outcome-panels", panel, place);
    return async () => {
      const outcomes = panel.outcomes.flatMap((found) =>
        page.outcomes.map((outcome, i) => ({
          title: titles[found.row], outcome: outcome.name, colour: outcome.colour, place: i,
          share: found.mean[i], spread: found.spread[i], seeds: found.seeds,
        })));
      const present = panel.outcomes.map((found) => titles[found.row]);
      const config = { ...page.charts.outcomes.config, axisY: { labelLimit: 0.5 * place.clientWidth, labelExpr: LABEL, labelLineHeight: 11 } };
      const view = await draw(place, "outcomes", { shown: chosen("row") }, { outcomes }, { height: BAR * present.length, config });
      views.add(view);
      bars.set(view, present);
    };
  }

  function addPanel(place, panel, ...content) {
    const figure = element("figure", { className: "panel" }, element("h3", {}, equation("σ", panel.sigma)), ...content);
    figure.dataset.sigma = panel.sigma;
    document.getElementById(place).append(figure);
  }

  const drawings = page.panels.flatMap((panel) => [curvePanel(panel), outcomePanel(panel)]);
  for (const start of drawings) start();

  document.getElementById("outcome-legend").append(...page.outcomes.map(({ name, colour }) => {
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = colour;
    return element("li", {}, swatch, name);
  }));

  // Two methods, image by image

  const EXTREMES = 10;
  const SQUARES = 32;
  const choice = document.getElementById("choice");

  function decode(base64, kind) {
    return new kind(Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer);
  }

  function radii(row, sigma) {
    const cell = page.images.cells.find((one) => one.row === row && one.sigma === sigma);
    if (!cell) return undefined;
    const [levels, steps] = page.images.levels;
    const cap = page.images.largest[sigma];
    const unpack = (packed, kind, unit) => packed && Float64Array.from(decode(packed, kind), (level) => level * unit);
    return { cap, seeds: cell.seeds, mean: unpack(cell.mean, Uint16Array, cap / levels), spread: unpack(cell.spread, Uint8Array, cap / steps) };
  }

  function extremes(title, order, one, other, labels) {
    const number = (cell, i) => [cell.mean[i].toFixed(2), ...(cell.spread ? [" ", element("span", { className: "spread" }, `± ${cell.spread[i].toFixed(2)}`)] : [])];
    const lines = order.map((i) => element("tr", {},
      element("td", {}, String(page.images.first + i * page.images.step)), element("td", {}, String(labels[i])),
      element("td", {}, ...number(one, i)), element("td", {}, ...number(other, i)),
      element("td", {}, (one.mean[i] - other.mean[i]).toFixed(2).replace("-", "−"))));
    return element("div", { className: "scroll" }, element("table", {},
      element("caption", {}, title),
      element("thead", {}, element("tr", {}, ...["Image", "Class", "First", "Second", "Difference"].map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, ...lines)));
  }

  function squares(one, other) {
    const counts = new Map();
    const place = (radius) => Math.min(Math.floor((radius / one.cap) * SQUARES), SQUARES - 1);
    for (let i = 0; i < one.mean.length; i++) {
      const square = place(other.mean[i]) * SQUARES + place(one.mean[i]);
      counts.set(square, (counts.get(square) ?? 0) + 1);
    }
    const edge = (n) => (n * one.cap) / SQUARES;
    const words = (n) => `${edge(n).toFixed(2)} to ${edge(n + 1).toFixed(2)}`;
    return [...counts].map(([square, images]) => {
      const [x, y] = [Math.floor(square / SQUARES), square % SQUARES];
      return { x: edge(x), x2: edge(x + 1), y: edge(y), y2: edge(y + 1), images, across: words(x), up: words(y) };
    });
  }

  function weigh() {
    const { first, second, sigma } = Object.fromEntries(new FormData(choice));
    const [one, other] = [radii(Number(first), sigma), radii(Number(second), sigma)];
    const balance = document.getElementById("balance");
    const tables = document.getElementById("extremes");
    const chart = document.getElementById("pairs");
    tables.replaceChildren();
    chart.hidden = !one || !other;
    if (chart.hidden) {
      balance.textContent = `At ${equation("σ", sigma)} this experiment does not have both methods.`;
      return;
    }
    const [here, there] = [titles[first], titles[second]];
    const images = one.mean.length;
    const differences = one.mean.map((mean, i) => mean - other.mean[i]);
    const larger = differences.filter((d) => d > 0).length;
    const smaller = differences.filter((d) => d < 0).length;
    const mean = differences.reduce((sum, d) => sum + d, 0) / images;
    const error = Math.sqrt(differences.reduce((sum, d) => sum + (d - mean) ** 2, 0) / (images - 1) / images);
    const whole = (n) => n.toLocaleString("en");
    balance.textContent = `Of ${whole(images)} images at ${equation("σ", sigma)}, the first method (${here}) has the larger radius on ${whole(larger)}, the second (${there}) on ${whole(smaller)}; on ${whole(images - larger - smaller)} they are equal. Mean difference, first − second: ${mean.toFixed(4).replace("-", "−")} ± ${error.toFixed(4)} (standard error over the images; seeds: ${one.seeds} and ${other.seeds}).`;
    const labels = decode(page.images.labels, Uint16Array);
    const order = [...differences.keys()].sort((a, b) => differences[b] - differences[a]);
    tables.append(
      extremes(`Larger radius with the first method, ${here}`, order.filter((i) => differences[i] > 0).slice(0, EXTREMES), one, other, labels),
      extremes(`Larger radius with the second method, ${there}`, order.filter((i) => differences[i] < 0).reverse().slice(0, EXTREMES), one, other, labels));
    draw(chart, "pairs", { cap: one.cap }, { pairs: squares(one, other) });
  }

  if (choice) {
    const option = (label, value) => element("option", { value }, label);
    choice.elements.first.append(...titles.map((title, row) => option(title, row)));
    choice.elements.second.append(...titles.map((title, row) => option(title, row)));
    choice.elements.second.value = titles.length - 1;
    choice.elements.sigma.append(...page.panels.map((panel) => option(panel.sigma, panel.sigma)));
    choice.addEventListener("change", weigh);
    weigh();
  }

  document.documentElement.classList.add("scripted");
  makeRoom();
})();
