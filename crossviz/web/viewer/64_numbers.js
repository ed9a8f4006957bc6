// Numbers side by side as heat: a strip for a vector, the patches as they lie in the photo for a row of attention.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  const DIVERGING = "RdBu_r"; // white at zero, blue below and red above: told apart by people of any colour vision
  const SEQUENTIAL = "viridis";
  const DIGITS = 6;

  /**
   * A number as it is, to six figures: -0.0123456789 -> "−0.0123457".
   * @type {(value: number | null) => string}
   */
  function exact(value) {
    if (value === null) return "masked";
    return String(Number(value.toPrecision(DIGITS))).replace("-", "\u2212").replace("e\u2212", "e-");
  }

  /**
   * Pixels of some values, as the colour bar's: transparent where they are none, over the bar's ground.
   * @type {(canvas: HTMLCanvasElement, values: (number | null)[], scale: number, signed: boolean, ground: Rgb) => void}
   */
  function draw(canvas, values, scale, signed, ground) {
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const image = ctx.createImageData(canvas.width, canvas.height);
    const table = CV.rgbTable(signed ? DIVERGING : SEQUENTIAL);
    const alpha = CV.alphaTable(1, signed);
    for (let i = 0; i < canvas.width * canvas.height; i++) {
      const value = values[i] ?? null;
      const t = value === null ? 0 : Math.max(-1, Math.min(1, value / scale));
      const index = signed ? Math.round(128 + 127 * t) : Math.round(255 * Math.max(0, t));
      const a = value === null ? 0 : alpha[index] / 255;
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = Math.round(ground[k] * (1 - a) + table[3 * index + k] * a);
      image.data[4 * i + 3] = 255;
    }
    ctx.putImageData(image, 0, 0);
  }

  /** @type {(values: (number | null)[]) => number} */
  const largest = (values) => values.reduce((/** @type {number} */ most, value) => Math.max(most, Math.abs(value ?? 0)), 0) || 1;

  /**
   * One strip, or one grid with what else there is beside it.
   * @param {NumberStrip} strip
   * @param {GridAbout} about
   * @param {number | null} [scale] where its colours end; null: at its own largest value
   * @returns {{node: HTMLElement, count: number, point: (index: number | null) => string}}
   */
  function numbers(strip, about, scale = null) {
    const { values, signed, mark } = strip;
    const grid = strip.kind === "grid";
    const patches = grid ? about.rows * about.columns : values.length;
    // A null key that takes most of a row would leave the patches dark: their own largest value ends the scale.
    const end = scale ?? largest(values.slice(0, patches));
    const beyond = largest(values) > end * (1 + 1e-9) ? " and more" : "";
    const said = el("span", { class: "cv-number" });
    const range = (signed ? `\u00b1${exact(end)}` : `0 to ${exact(end)}`) + beyond;
    said.textContent = range;
    if (values.length === 1) {
      said.textContent = exact(values[0]);
      const node = el("div", { class: "cv-numbers cv-single" }, el("span", { class: "cv-label", text: strip.label }), said);
      return { node, count: 1, point: () => `${strip.label}: ${exact(values[0])}` };
    }
    /** @type {(index: number) => string} */
    const name = (index) => {
      if (!grid) return `number ${index + 1} of ${values.length}`;
      if (index >= patches) return about.others[index - patches] ?? `key ${index + 1}`;
      return `row ${Math.floor(index / about.columns) + 1}, column ${(index % about.columns) + 1}`;
    };
    /** @type {(index: number) => string} */
    const told = (index) => `${strip.label}, ${name(index)}: ${exact(values[index])}`;
    /**
     * A canvas of some of the values, `across` to a row, with a frame on the marked one and on the one pointed at.
     * @type {(from: number, to: number, across: number) => {node: HTMLElement, show: (index: number | null) => void}}
     */
    function part(from, to, across) {
      const rows = Math.ceil((to - from) / across);
      const canvas = el("canvas", { width: across, height: rows, "aria-hidden": "true" });
      draw(canvas, values.slice(from, to), end, signed, about.ground);
      const at = el("i", { class: "cv-number-at", hidden: true });
      const marked = el("i", { class: "cv-number-mark", hidden: true });
      const node = el("div", { class: "cv-heat-numbers", style: { "--cv-across": String(across), "--cv-down": String(rows) } }, canvas, marked, at);
      /** @type {(frame: HTMLElement, index: number | null) => void} */
      const place = (frame, index) => {
        frame.hidden = index === null || index < from || index >= to;
        if (index === null || frame.hidden) return;
        const here = index - from;
        frame.style.setProperty("--cv-column", String(here % across));
        frame.style.setProperty("--cv-row", String(Math.floor(here / across)));
      };
      place(marked, mark);
      node.addEventListener("pointermove", (event) => {
        const box = canvas.getBoundingClientRect();
        const column = Math.floor(((event.clientX - box.left) / box.width) * across);
        const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
        const index = from + row * across + column;
        point(column >= 0 && column < across && row >= 0 && index < to ? index : null);
      });
      node.addEventListener("pointerleave", () => point(null));
      return { node, show: (index) => place(at, index) };
    }
    const parts = [part(0, patches, grid ? about.columns : patches)];
    if (grid) parts[0].node.classList.add("cv-heat-grid");
    if (patches < values.length) parts.push(part(patches, values.length, values.length - patches));
    const beside = parts.length > 1 && el("div", { class: "cv-others" }, el("span", { class: "cv-label", text: othersLabel(about.others, values.slice(patches)) }), parts[1].node);

    /**
     * Frames one of the values and shows it; null frames none.
     * @type {(index: number | null) => string}
     */
    function point(index) {
      parts.forEach(({ show }) => show(index));
      said.textContent = index === null ? range : `${name(index).replace(/^number (\d+).*/, "$1")}: ${exact(values[index])}`;
      return index === null ? "" : told(index);
    }
    const drawn = el("div", { class: "cv-drawn", role: "img", "aria-label": `${strip.label}, ${values.length} numbers, ${range}` }, parts[0].node, beside || null);
    const node = el("div", { class: `cv-numbers${grid ? " cv-of-grid" : ""}` }, el("span", { class: "cv-label", text: strip.label }), drawn, said);
    return { node, count: values.length, point };
  }

  /** @type {(others: string[], values: (number | null)[]) => string} */
  function othersLabel(others, values) {
    return values.length === 1 ? `${others[0] ?? "one more"}: ${exact(values[0])}` : `${values.length} other tokens`;
  }

  Object.assign(CV, { numbers, exact, largest });
})();
