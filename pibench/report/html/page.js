// Draws the plots when they come into sight, filters and sorts the ledger, opens sections
// that are linked to. The page can be read without it: the tables are in the page.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const figures = new Map();
  const drawn = new Set();
  const PAPER_PX = 690;
  let printing = null;
  let plotter = null;

  const load = (block) => {
    if (block.dataset.loaded) return;
    block.dataset.loaded = "yes";
    for (const [name, figure] of Object.entries(JSON.parse(block.textContent))) figures.set(name, figure);
  };

  // Colours are named after the style sheet's variables, so that plots follow light and dark.
  const coloured = (value, style) => {
    if (Array.isArray(value)) return value.map((one) => coloured(one, style));
    if (value === null || typeof value !== "object") return value;
    const found = {};
    for (const [key, inner] of Object.entries(value)) {
      const named = typeof inner === "string" && inner.startsWith("$") && /color$/.test(key);
      found[key] = named ? style.getPropertyValue(`--${inner.slice(1)}`).trim()
        : typeof inner === "object" && key !== "x" && key !== "y" && key !== "customdata" ? coloured(inner, style) : inner;
    }
    return found;
  };

  const styled = (place) => {
    const figure = figures.get(place.dataset.figure);
    const style = getComputedStyle(root);
    const ink = style.getPropertyValue("--ink").trim();
    const muted = style.getPropertyValue("--muted").trim();
    const line = style.getPropertyValue("--line").trim();
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickfont: { size: printing ? 9 : 12 }, fixedrange: false };
    const layout = coloured(figure.layout, style);
    const data = figure.data.map((trace) => {
      const own = coloured(trace, style);
      if (own.layers) own.customdata = own.layers.map((index) => figure.names[index]);
      return own;
    });
    return {
      data,
      layout: {
        ...layout,
        ...(printing ? { autosize: false, height: Math.round(0.64 * layout.height), width: Math.round(PAPER_PX * (place.closest(".split") ? 0.58 : 1)) } : { autosize: true, width: undefined }),
        font: { family: getComputedStyle(document.body).fontFamily, size: printing ? 9 : 12, color: ink },
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        margin: { l: 52, r: 16, ...layout.margin },
        xaxis: { ...axis, ...layout.xaxis },
        yaxis: { ...axis, ...layout.yaxis },
        legend: { font: { color: muted }, ...layout.legend },
        hoverlabel: {
          bgcolor: style.getPropertyValue("--raised").trim(),
          bordercolor: muted,
          font: { color: ink, family: getComputedStyle(document.body).fontFamily, size: 13 },
          align: "left",
        },
        hovermode: "closest",
      },
    };
  };

  const options = {
    displaylogo: false,
    responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
  };

  // plotly.js is compressed in the page, and its text has the hash that the content policy allows.
  const unpacked = async () => {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    plotter = Plotly;
    for (const place of waiting) draw(place);
  };

  const waiting = new Set();
  const draw = (place) => {
    if (!figures.has(place.dataset.figure) || drawn.has(place)) return;
    if (!plotter) {
      waiting.add(place);
      return;
    }
    drawn.add(place);
    const { data, layout } = styled(place);
    plotter.newPlot(place, data, layout, options);
  };

  const redraw = () => {
    for (const place of drawn) {
      const { data, layout } = styled(place);
      plotter.react(place, data, layout, options);
    }
  };

  const inSight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      inSight.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });

  // A network's figures and its long table are loaded when it is opened.
  const fill = (network) => {
    const block = network.querySelector("script.figures");
    if (block) load(block);
    for (const place of network.querySelectorAll(".plot")) inSight.observe(place);
  };
  const tabulate = (box) => {
    const hidden = box.querySelector("noscript");
    // With scripts enabled the parser reads it as text; it is the page's own markup, names escaped.
    if (!hidden) return;
    hidden.outerHTML = hidden.textContent;
    cued(box.querySelector(".scroll"));
  };

  const open = (hash) => {
    const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
    if (!target) return;
    for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    target.scrollIntoView();
  };

  const filtering = () => {
    const table = document.getElementById("ledger-table");
    if (!table) return;
    const field = document.getElementById("ledger-filter");
    const count = document.getElementById("ledger-count");
    const chips = [...document.querySelectorAll("[data-chip]")];
    const rows = [...table.tBodies[0].rows];
    let chosen = "all";
    const apply = () => {
      const wanted = field.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        const named = row.cells[1].textContent.toLowerCase().includes(wanted);
        const matching = chosen === "all" || (chosen === "differs" ? row.dataset.differs === "yes" : row.dataset.verdict === chosen);
        row.hidden = !(named && matching);
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = `${shown} of ${rows.length} networks`;
    };
    field.addEventListener("input", apply);
    for (const chip of chips) {
      chip.addEventListener("click", () => {
        chosen = chip.dataset.chip;
        for (const one of chips) one.setAttribute("aria-pressed", String(one === chip));
        apply();
      });
    }
    sorting(table, rows);
    narrowing(table);
  };

  // A phone shows the columns that matter most; the others on request, by scrolling.
  const phone = matchMedia("screen and (max-width: 47.99rem)");
  let narrow = () => {};
  const narrowing = (table) => {
    const button = document.querySelector("[data-all-columns]");
    narrow = () => {
      const few = phone.matches && !printing && button.getAttribute("aria-pressed") !== "true";
      table.classList.toggle("few", few);
      for (const head of table.querySelectorAll("[data-few]")) head.colSpan = few ? head.dataset.few : head.dataset.span;
      cue(table.closest(".scroll"));
    };
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      narrow();
    });
    phone.addEventListener("change", narrow);
    narrow();
  };

  // A table with columns out of sight has a line above it that states it.
  const cue = (box) => box.classList.toggle("overflows", box.scrollWidth > box.clientWidth + 1);
  const cueing = new ResizeObserver((entries) => entries.forEach((entry) => cue(entry.target.closest(".scroll"))));
  const cued = (box) => {
    const line = document.createElement("p");
    line.className = "cue";
    line.textContent = "Scroll the table sideways for more columns \u2192";
    box.before(line);
    cueing.observe(box);
    cueing.observe(box.querySelector("table"));
  };

  // t: by text, n: by number, a: by its distance from zero. Cells without a number go last.
  const sorting = (table, rows) => {
    const heads = [...table.tHead.querySelectorAll("[data-sort]")];
    for (const head of heads) {
      const index = Number(head.dataset.column);
      const how = head.dataset.sort;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      const value = (row) => {
        const cell = row.cells[index];
        if (how === "t") return cell.textContent.trim().toLowerCase();
        const text = cell.dataset.v ?? cell.textContent;
        const number = text.trim() === "" ? NaN : Number(text);
        return how === "a" ? Math.abs(number) : number;
      };
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === (how === "a" ? "descending" : "ascending");
        const descending = how === "a" ? !up : up;
        for (const one of heads) one.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        const sign = descending ? -1 : 1;
        const ordered = [...rows].sort((left, right) => {
          const [a, b] = [value(left), value(right)];
          if (how === "t") return sign * a.localeCompare(b);
          if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
          return sign * (a - b);
        });
        table.tBodies[0].append(...ordered);
      });
    }
  };

  const following = () => {
    const links = new Map();
    for (const link of document.querySelectorAll(".contents a")) links.set(link.hash.slice(1), link);
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        for (const link of links.values()) link.removeAttribute("aria-current");
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-10% 0px -80% 0px" });
    for (const id of links.keys()) {
      const target = document.getElementById(id);
      if (target) seen.observe(target);
    }
  };

  const networks = [...document.querySelectorAll("details.network")];
  const closable = [...document.querySelectorAll(".table-box:not(.layer-table)")];
  // Plots on paper are light and have a fixed width; those drawn only for paper are removed again.
  // A network is on paper if the reader has opened it.
  const beforePrint = () => {
    if (printing) return;
    root.dataset.theme = "print";
    printing = { closed: closable.filter((box) => !box.open), drawn: new Set(drawn) };
    for (const box of printing.closed) box.open = true;
    narrow();
    redraw();
    for (const place of document.querySelectorAll(".plot")) if (!place.closest("details:not([open])")) draw(place);
  };
  const afterPrint = () => {
    if (!printing) return;
    delete root.dataset.theme;
    const { closed, drawn: before } = printing;
    printing = null;
    for (const box of closed) box.open = false;
    for (const place of [...drawn].filter((one) => !before.has(one))) {
      plotter.purge(place);
      drawn.delete(place);
      inSight.observe(place);
    }
    narrow();
    redraw();
  };

  load(document.getElementById("figures"));
  for (const network of networks) network.addEventListener("toggle", () => network.open && fill(network));
  for (const box of document.querySelectorAll("details.layer-table")) box.addEventListener("toggle", () => box.open && tabulate(box));
  for (const place of document.querySelectorAll(".plot")) if (!place.closest("details.network")) inSight.observe(place);
  document.querySelector("[data-open-all]")?.addEventListener("click", () => networks.forEach((one) => { one.open = true; }));
  document.querySelector("[data-close-all]")?.addEventListener("click", () => networks.forEach((one) => { one.open = false; }));
  // The plots replace these tables, which are open only without this script.
  for (const box of document.querySelectorAll(".table-box[open]")) box.open = false;
  unpacked().catch(() => {
    // A browser that is too old to unpack it shows the tables.
    root.dataset.plots = "none";
    for (const box of closable) box.open = true;
  });
  for (const box of document.querySelectorAll(".scroll")) cued(box);
  const contents = document.querySelector(".contents-box");
  if (contents && matchMedia("(max-width: 95.99rem)").matches) contents.open = false;
  dark.addEventListener("change", redraw);
  addEventListener("hashchange", () => open(location.hash));
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);
  filtering();
  following();
  open(location.hash);
})();
