// All layers and heads as tiny maps of what is shown, on the colour scale of the picture: in the order of the layers, or
// sorted by a figure that then stands under each. Pointing previews, clicking pins; several pinned ones are blended.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, say, amount, figure, percent, hint } = CV;

  const MOST_PHOTOS = 16; // up to so many maps the photo shows behind each
  const DEFINE =
    "Entropy: how widely a head's attention is spread over the patches, in bits; each bit less is half as many patches. Peak: its most looked-at patch. Null mass: what it gave to “nothing in this picture”. All of the word or phrase that is shown.";

  /**
   * @param {Payload} payload
   * @param {Field} field
   * @param {{sort: string}} prefs a key of CV.ORDERS
   * @param {{preview: (layer: number, head: number) => void, leave: () => void, pin: (layer: number, head: number) => void, unpin: () => void}} act layer and head are indices
   * @returns {{node: HTMLElement | null, paint: (state: StripState) => void, stop: () => void}} node null where there
   *   is only one map
   */
  function strip(payload, field, prefs, act) {
    if (!field.hasHeads) return { node: null, paint() {}, stop() {} };
    const few = field.layers.length * field.heads <= MOST_PHOTOS;
    const layered = field.layers.length > 1;
    const every = layered ? "Every layer and head" : "Every head";
    const idle = "Point at a head to look through it alone; click to keep it, and more of them to blend their maps.";
    const { width, height } = payload.photo;
    const [x0, y0, x1, y1] = payload.view.crop_xyxy;
    // With the photo behind it a map lies where the model's crop lies.
    const place = few
      ? { left: x0 / width, top: y0 / height, width: (x1 - x0) / width, height: (y1 - y0) / height }
      : null;
    const aspect = few ? Math.min(2, Math.max(0.5, width / height)) : field.gw / field.gh;
    const orders = CV.ORDERS.filter(([, , name]) => field.nulls || name !== "nullMass");
    if (!orders.some(([key]) => key === prefs.sort)) prefs.sort = "layer";

    const cells = field.parts(null, null).map(([layer, head], index) => {
      const under = el("span", { class: "cv-head-under", "aria-hidden": "true" }, layered ? el("span", { text: `${layer + 1}·${head + 1}` }) : null, el("b"));
      const map = el(
        "span",
        { class: "cv-head-map" },
        few ? el("img", { src: payload.photo.src, alt: "", draggable: "false" }) : null,
        layered ? null : el("span", { class: "cv-head-name", text: String(head + 1), "aria-hidden": "true" }),
      );
      const cell = el("button", { type: "button", class: "cv-head", tabindex: index ? "-1" : "0", "aria-pressed": "false" }, map, under);
      cell.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && act.preview(layer, head));
      cell.addEventListener("focus", () => {
        cells.forEach((other) => other.cell.setAttribute("tabindex", other.cell === cell ? "0" : "-1"));
        if (cell.matches(":focus-visible")) act.preview(layer, head);
      });
      cell.addEventListener("blur", () => act.leave());
      cell.addEventListener("click", () => act.pin(layer, head));
      return { cell, map, under, layer, head };
    });
    /** @type {number[]} */
    let order = []; // positions in `cells`, as they stand
    const grid = el("div", {
      class: few ? "cv-heads" : "cv-heads cv-heads-one",
      role: "toolbar",
      "aria-label": "Heads. Arrow keys preview, Enter pins or lets go, Escape lets all go.",
      style: { "--cv-heads": String(field.heads), "--cv-head-aspect": String(aspect) },
    });
    const maps = CV.headMaps(field, cells.map(({ map }) => map), place, grid, () => last && begin());
    grid.addEventListener("pointerleave", () => act.leave());
    grid.addEventListener("keydown", (event) => {
      const row = order.map((index) => cells[index].cell);
      const here = row.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
      if (here < 0) return;
      const below = row.findIndex((cell) => cell.offsetTop > row[0].offsetTop);
      const down = below < 0 ? row.length : below;
      const to = { ArrowRight: here + 1, ArrowLeft: here - 1, ArrowDown: here + down, ArrowUp: here - down, Home: 0, End: row.length - 1 }[event.key];
      if (to === undefined && event.key !== "Escape") return;
      event.preventDefault();
      if (to === undefined) return act.unpin();
      row[to]?.focus({ focusVisible: true });
    });

    const said = el("p", { class: "cv-note cv-heads-said", text: idle });
    const title = el("h2", { class: "cv-label", text: every });
    const sort = CV.select("Sort by", orders.map(([key, text]) => [key, text]), prefs.sort, (key) => {
      prefs.sort = key;
      if (last) paint(last);
    });
    const clear = el("button", { type: "button", class: "cv-button", text: "Unpin all", on: { click: () => act.unpin() } });
    const node = el(
      "section",
      { class: "cv-strip", "aria-label": every },
      el("div", { class: "cv-strip-head" }, el("div", { class: "cv-strip-title" }, title, hint("entropy, peak, null mass", DEFINE)), clear, sort.node),
      grid,
      said,
    );
    /** @type {StripState | null} */
    let last = null; // the state that was painted last

    /**
     * Puts the cells into an order; only where it is another, or a focused one would lose the focus. Whether it was.
     * @type {(next: number[]) => boolean}
     */
    function arrange(next) {
      const sorted = prefs.sort !== "layer";
      const key = `${sorted}:${next}`;
      if (grid.dataset.order === key) return false;
      grid.dataset.order = key;
      order = next;
      grid.classList.toggle("cv-layered", layered && !sorted);
      grid.classList.toggle("cv-sorted", sorted);
      const focused = /** @type {HTMLElement | null} */ (document.activeElement);
      const names = layered && !sorted;
      /** @type {(head: number) => HTMLElement} */
      const name = (head) => el("span", { class: "cv-heads-name", text: String(head + 1), "aria-hidden": "true" });
      grid.replaceChildren(
        ...(names ? [el("span"), ...Array.from({ length: field.heads }, (_, head) => name(head))] : []),
        ...next.flatMap((index) => {
          const { cell, layer, head } = cells[index];
          const label = field.layers[layer];
          return names && head === 0 ? [el("span", { class: "cv-heads-layer", text: label, title: label }), cell] : [cell];
        }),
        ...(maps.node ? [maps.node] : []),
      );
      if (grid.contains(focused)) focused?.focus();
      return true;
    }

    /**
     * The figure that the heads are sorted by, short.
     * @type {(one: HeadFigure) => string}
     */
    function short(one) {
      const [, , name] = CV.ORDERS.find(([key]) => key === prefs.sort) ?? CV.ORDERS[0];
      if (!name) return "";
      return { entropy: () => `${figure(one.entropy)} bits`, peak: () => amount(one.peak, field), nullMass: () => percent(Number(one.nullMass)) }[name]();
    }

    /** @type {(one: HeadFigure, text: string) => string} */
    function about(one, text) {
      const peak = `${amount(one.peak, field)}${field.isProbability ? " chance" : ""}`;
      const parts = [`peaks at ${peak}`, `entropy ${figure(one.entropy)} of ${figure(Math.log2(field.size))} bits`];
      if (one.nullMass !== null) parts.push(`null ${percent(one.nullMass)}`);
      return `${CV.headName(field, one.layer, one.head)}: “${text}” ${parts.join(", ")}`;
    }

    /** @type {string | null} */
    let look = null; // what the maps show, or will when all are drawn: `lookOf`
    /** @type {(state: StripState) => string} */
    const lookOf = ({ word, own, cmap, opacity }) => `${word}.${own}.${cmap}.${opacity}.${prefs.sort}`;
    const pieces = CV.inPieces();

    /**
     * The name of a head with all its figures, and the one below that it is sorted by.
     * @type {(cell: (typeof cells)[number], state: StripState) => void}
     */
    function nameCell({ cell, under, layer, head }, { word, text }) {
      const figures = word === null ? null : field.figure(word, layer, head);
      say(/** @type {Node} */ (under.lastChild), figures ? short(figures) : "");
      cell.setAttribute("aria-label", figures ? about(figures, text) : CV.headName(field, layer, head));
    }
    /** @type {(place: number, state: StripState) => void} */
    function drawCell(place, { word, own, cmap, opacity }) {
      if (word === null) return maps.draw(place, null);
      const { layer, head } = cells[place];
      const values = field.values(word, layer, head);
      const scale = field.scaleFor(values, { layer, head, own });
      const table = CV.packedTable(cmap, few ? opacity : 1, scale.signed);
      const index = CV.indexer(field.factor, scale);
      for (let i = 0; i < values.length; i++) pixels[i] = table[index(values[i])];
      maps.draw(place, image);
    }
    const image = new ImageData(field.gw, field.gh);
    const pixels = new Uint32Array(image.data.buffer);

    /** @type {(state: StripState) => string} */
    const titleOf = ({ word, text }) => (word === null ? every : `${every}${field.sum ? " on their own scale" : ""}, for \u201c${text}\u201d`);

    /**
     * @param {StripState} state
     * @returns {Generator<void>}
     */
    function* drawAll(state) {
      const { word } = state;
      if (word !== null) for (const { layer, head } of cells) yield void field.figure(word, layer, head);
      const moved = arrange(word === null ? cells.map((_, i) => i) : CV.headOrder(field.figures(word), prefs.sort));
      for (const cell of cells) yield void nameCell(cell, state);
      maps.measure(moved || prefs.sort !== "layer"); // figures below a map take their room
      for (const index of order) yield void drawCell(index, state);
      say(title, titleOf(state));
      grid.removeAttribute("aria-busy");
      tell(/** @type {StripState} */ (last));
    }

    /**
     * The line below: the head that is pointed at, the pinned ones, or what to do.
     * @type {(state: StripState) => void}
     */
    function tell({ word, text, pins, preview }) {
      let line = pins.length > 1 ? `Pinned: ${CV.through(field, null, pins, pins.length)}.` : idle;
      if (preview) line = word === null ? CV.headName(field, ...preview) : about(field.figure(word, ...preview), text);
      say(said, line);
    }

    /**
     * What is chosen at once, the maps in pieces after the next frame, where they are others; `aria-busy` until then.
     * @param {StripState} state
     */
    function paint(state) {
      last = state;
      const { pins } = state;
      cells.forEach(({ cell, layer, head }) => {
        const pressed = String(pins.some(([l, h]) => l === layer && h === head));
        if (cell.getAttribute("aria-pressed") !== pressed) cell.setAttribute("aria-pressed", pressed);
      });
      clear.style.visibility = pins.length ? "visible" : "hidden";
      tell(state);
      if (look === lookOf(state)) return;
      if (look === null) say(title, titleOf(state)); // or it would grow with the first maps
      look = lookOf(state);
      begin();
    }
    function begin() {
      const state = /** @type {StripState} */ (last);
      grid.setAttribute("aria-busy", "true");
      pieces.begin(() => drawAll(state));
    }
    function stop() {
      pieces.stop();
      maps.stop();
    }
    arrange(cells.map((_, i) => i));
    return { node, paint, stop };
  }

  Object.assign(CV, { strip });
})();
