// Attention in two steps: from the words to learned queries, and from each query to the patches. A strip of the queries
// that the shown word asks; pointing at one shows its own map on the photo.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, percent, figure } = CV;

  const ROWS = { wide: 40, narrow: 16 }; // queries in a row, at most
  const FLOOR = 8; // the strip's scale reaches at least this multiple of chance, as scale.FLOOR

  /** The first step's rows: how a word's attention is spread over the queries. */
  class Asked {
    /**
     * @param {Pick<Steps, "words" | "layers" | "heads" | "count">} steps
     * @param {Field} field
     */
    constructor({ words, layers, heads, count }, field) {
      this.count = count;
      this.layers = layers.length;
      this.heads = heads;
      this.field = field;
      this._rows = new CV.Maps(words, 1, count);
    }

    /**
     * The single heads of this step that a choice takes; all where it is of a layer or head that this step lacks.
     * @param {number | null} layer
     * @param {HeadChoice} head
     * @returns {Pin[]}
     */
    _parts(layer, head) {
      /** @type {(l: number, h: number) => boolean} */
      const has = (l, h) => l < this.layers && h < this.heads;
      if (Array.isArray(head)) {
        const own = head.filter(([l, h]) => has(l, h));
        return own.length ? own : this._parts(null, null);
      }
      /** @type {(chosen: number | null, n: number) => number[]} */
      const pick = (chosen, n) => (chosen === null || chosen >= n ? [...Array(n).keys()] : [chosen]);
      return pick(layer, this.layers).flatMap((l) => pick(head, this.heads).map((h) => /** @type {Pin} */ ([l, h])));
    }

    /**
     * Probabilities over the queries, of a word or phrase: the mean over the heads that are chosen, as in `Field`.
     * @param {What} what
     * @param {number | null} [layer]
     * @param {HeadChoice} [head]
     * @returns {Float64Array}
     */
    row(what, layer = null, head = null) {
      const out = new Float64Array(this.count);
      const parts = this._parts(layer, head);
      for (const [word, weight] of this.field.weights(what)) {
        for (const [l, h] of parts) {
          const one = this._rows.map((l * this.heads + h) * this.field.words + word);
          for (let q = 0; q < this.count; q++) out[q] += (weight / parts.length) * one[q];
        }
      }
      return out;
    }
  }

  /**
   * @param {Payload} payload
   * @param {Pick<Stage, "colours">} stage
   * @param {{steps: boolean}} prefs
   * @param {{look: (query: number | null, told: string) => void}} act whose patches are to be shown
   * @returns {TwoSteps}
   */
  function twoSteps(payload, stage, prefs, act) {
    const { steps } = payload;
    if (!steps) return { node: null, field: null, paint() {}, name: String };
    const { words } = payload.caption;
    const { count } = steps;
    const field = new CV.Field({
      ...payload,
      method: { ...payload.method, unit: "probability", signed: false, reduce: "mean", text_dependent: true },
      maps: null,
      layers: [],
      heads: 0,
      null: null,
      means: steps.queries,
      vmax: steps.vmax,
    });
    const asked = new Asked(steps, field);
    const top = words.reduce((most, word, i) => (word.truncated ? most : Math.max(most, ...asked.row(i))), 0);
    const scale = { vmin: 1, vmax: Math.max(FLOOR, top * steps.count), signed: false };
    const idle = "Point at a query, or move with the arrow keys, to see the patches that it looks at.";
    /** @type {(query: number) => string} */
    const name = (query) => `query ${query + 1} of ${steps.count}`;
    const said = el("p", { class: "cv-note cv-steps-said", text: idle });
    const title = el("p", { class: "cv-label" });
    const cells = Array.from({ length: steps.count }, (_, query) => {
      const cell = el("button", { type: "button", class: "cv-query", tabindex: query ? "-1" : "0", "aria-label": name(query) });
      cell.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && look(query));
      cell.addEventListener("focus", () => {
        cells.forEach((other) => other.setAttribute("tabindex", other === cell ? "0" : "-1"));
        if (cell.matches(":focus-visible")) look(query);
      });
      cell.addEventListener("blur", () => look(null));
      cell.addEventListener("click", () => look(query));
      return cell;
    });
    /** @type {(most: number) => string} */
    const even = (most) => String(Math.ceil(steps.count / Math.ceil(steps.count / most))); // rows of one length
    const strip = el(
      "div",
      {
        class: "cv-queries",
        role: "toolbar",
        "aria-label": "Queries. Arrow keys show a query's own map.",
        style: { "--cv-wide": even(ROWS.wide), "--cv-narrow": even(ROWS.narrow) },
      },
      ...cells,
    );
    strip.addEventListener("pointerleave", () => look(null));
    strip.addEventListener("keydown", (event) => {
      const here = cells.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
      if (here < 0) return;
      const wide = cells.findIndex((cell) => cell.offsetTop > cells[0].offsetTop);
      const row = wide < 0 ? cells.length : wide;
      const to = { ArrowRight: here + 1, ArrowLeft: here - 1, ArrowDown: here + row, ArrowUp: here - row, Home: 0, End: cells.length - 1 }[event.key];
      if (to === undefined && event.key !== "Escape") return;
      event.preventDefault();
      if (to === undefined) return look(null);
      if (to >= 0 && to < cells.length) cells[to].focus({ focusVisible: true });
    });
    const node = el(
      "details",
      { class: "cv-steps", open: Boolean(prefs.steps) },
      el("summary", { text: "The two steps" }),
      el("p", {
        class: "cv-note",
        text: `A word looks at ${steps.count} learned queries (${steps.titles[0]}), and each query at the patches (${steps.titles[1]}). The map is the two together: every query's own map, weighted by how much the word asks it.`,
      }),
      title,
      strip,
      said,
    );
    node.addEventListener("toggle", () => {
      prefs.steps = node.open;
      if (last) paint(...last);
    });
    /** @type {[word: What | null, state: MapState] | null} */
    let last = null;
    /** @type {Float64Array | null} */
    let row = null;

    /** @type {(query: number | null) => void} */
    function look(query) {
      said.textContent = query === null ? idle : about(query);
      act.look(query, query === null ? "" : about(query));
    }
    /** @type {(query: number) => string} */
    function about(query) {
      const word = last && last[0];
      if (!row || word === null) return `${name(query)}: the patches that it looks at`;
      const share = row[query];
      const times = share * count;
      const said = times < 0.1 ? "far below chance" : `${figure(times)} × chance`;
      return `${name(query)} has ${percent(share)} of “${field.text(word)}” (${said})`;
    }

    /**
     * @param {What | null} word
     * @param {MapState} state chooses the layer and head of the first step
     */
    function paint(word, state) {
      last = [word, state];
      row = word === null ? null : asked.row(word, state.layer, state.head);
      title.textContent = word === null ? "Every query" : `How much “${field.text(word)}” asks each query`;
      if (!node.open) return;
      const table = CV.rgbTable(CV.SEQUENTIAL.includes(state.cmap) ? state.cmap : CV.SEQUENTIAL[0]);
      const alpha = CV.alphaTable(1, false);
      const { ground } = stage.colours();
      cells.forEach((cell, query) => {
        const index = row ? Math.floor(255 * CV.position(row[query] * count, scale) + 0.5) : 0;
        const a = alpha[index] / 255;
        const mixed = ground.map((under, k) => Math.round(under * (1 - a) + table[3 * index + k] * a));
        cell.style.backgroundColor = `rgb(${mixed.join(" ")})`;
        cell.setAttribute("aria-label", row ? `query ${query + 1}, ${percent(row[query])}` : `query ${query + 1}`);
      });
    }
    return { node, field, paint, name };
  }

  Object.assign(CV, { twoSteps });
})();
