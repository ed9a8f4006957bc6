// All layers and heads as tiny maps of what is shown, on the colour scale of the picture: in the order of the layers, or
// sorted by a figure that then stands under each. Pointing previews, clicking pins; several pinned ones are blended.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, amount, figure, percent, hint } = CV;

  const MOST_PHOTOS = 16; // up to so many maps the photo shows behind each
  const DEFINE =
    "Entropy: how widely a head's attention is spread over the patches, in bits; each bit less is half as many patches. Peak: its most looked-at patch. Null mass: what it gave to “nothing in this picture”. All of the word or phrase that is shown.";

  /**
   * @param prefs {sort: a key of CV.ORDERS}
   * @param act {preview(layer, head), leave(), pin(layer, head), unpin()}; layer and head are indices
   * @returns {node, paint(state)}; node is null where there is only one map
   */
  function strip(payload, field, prefs, act) {
    if (!field.hasHeads) return { node: null, paint() {} };
    const few = field.layers.length * field.heads <= MOST_PHOTOS;
    const layered = field.layers.length > 1;
    const every = layered ? "Every layer and head" : "Every head";
    const idle = "Point at a head to look through it alone; click to keep it, and more of them to blend their maps.";
    const { width, height } = payload.photo;
    const [x0, y0, x1, y1] = payload.view.crop_xyxy;
    // With the photo behind it a map lies where the model's crop lies.
    const place = few
      ? { left: x0 / width, top: y0 / height, width: (x1 - x0) / width, height: (y1 - y0) / height }
      : { left: 0, top: 0, width: 1, height: 1 };
    const aspect = few ? Math.min(2, Math.max(0.5, width / height)) : field.gw / field.gh;
    const orders = CV.ORDERS.filter(([, , name]) => field.nulls || name !== "nullMass");
    if (!orders.some(([key]) => key === prefs.sort)) prefs.sort = "layer";

    const cells = field.parts(null, null).map(([layer, head], index) => {
      const canvas = el("canvas", { width: field.gw, height: field.gh, "aria-hidden": "true" });
      for (const [key, share] of Object.entries(place)) canvas.style[key] = `${100 * share}%`;
      const under = el("span", { class: "cv-head-under", "aria-hidden": "true" });
      const map = el(
        "span",
        { class: "cv-head-map" },
        few ? el("img", { src: payload.photo.src, alt: "", draggable: "false" }) : null,
        canvas,
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
      return { cell, canvas, under, layer, head };
    });
    let order = null; // positions in `cells`, as they stand
    const grid = el("div", {
      class: "cv-heads",
      role: "toolbar",
      "aria-label": "Heads. Arrow keys preview, Enter pins or lets go, Escape lets all go.",
      style: { "--cv-heads": String(field.heads), "--cv-head-aspect": String(aspect) },
    });
    grid.addEventListener("pointerleave", () => act.leave());
    grid.addEventListener("keydown", (event) => {
      const row = order.map((index) => cells[index].cell);
      const here = row.indexOf(document.activeElement);
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
    let last = null;

    /** Puts the cells into an order; only where it is another, or a focused one would lose the focus. */
    function arrange(next) {
      const sorted = prefs.sort !== "layer";
      const key = `${sorted}:${next}`;
      if (grid.dataset.order === key) return;
      grid.dataset.order = key;
      order = next;
      grid.classList.toggle("cv-layered", layered && !sorted);
      grid.classList.toggle("cv-sorted", sorted);
      const focused = document.activeElement;
      const names = layered && !sorted;
      const name = (head) => el("span", { class: "cv-heads-name", text: String(head + 1), "aria-hidden": "true" });
      grid.replaceChildren(
        ...(names ? [el("span"), ...Array.from({ length: field.heads }, (_, head) => name(head))] : []),
        ...next.flatMap((index) => {
          const { cell, layer, head } = cells[index];
          const label = field.layers[layer];
          return names && head === 0 ? [el("span", { class: "cv-heads-layer", text: label, title: label }), cell] : [cell];
        }),
      );
      if (grid.contains(focused)) focused.focus();
    }

    /** The figure that the heads are sorted by, short. */
    function short(one) {
      const [, , name] = CV.ORDERS.find(([key]) => key === prefs.sort);
      if (!name) return "";
      return { entropy: () => `${figure(one.entropy)} bits`, peak: () => amount(one.peak, field), nullMass: () => percent(one.nullMass) }[name]();
    }

    function about(one, text) {
      const peak = `${amount(one.peak, field)}${field.isProbability ? " chance" : ""}`;
      const parts = [`peaks at ${peak}`, `entropy ${figure(one.entropy)} of ${figure(Math.log2(field.size))} bits`];
      if (one.nullMass !== null) parts.push(`null ${percent(one.nullMass)}`);
      return `${CV.headName(field, one.layer, one.head)}: “${text}” ${parts.join(", ")}`;
    }

    /** @param state {word or null, text, pins: [[layer, head]], preview: [layer, head] or null, own, cmap, opacity} */
    function paint(state) {
      last = state;
      const { word, text, pins, preview, own, cmap, opacity } = state;
      const figures = word === null ? null : field.figures(word);
      arrange(figures ? CV.headOrder(figures, prefs.sort) : cells.map((_, i) => i));
      said.textContent = pins.length > 1 ? `Pinned: ${CV.through(field, null, pins, pins.length)}.` : idle;
      cells.forEach(({ cell, canvas, under, layer, head }, index) => {
        cell.setAttribute("aria-pressed", String(pins.some(([l, h]) => l === layer && h === head)));
        const ctx = canvas.getContext("2d");
        ctx.clearRect(0, 0, canvas.width, canvas.height);
        const name = CV.headName(field, layer, head);
        const tells = figures ? about(figures[index], text) : name;
        if (figures) {
          const values = field.values(word, layer, head);
          const scale = field.scaleFor(values, { layer, head, own });
          const table = CV.packedTable(cmap, few ? opacity : 1, scale.signed);
          const image = new ImageData(field.gw, field.gh);
          const pixels = new Uint32Array(image.data.buffer);
          for (let i = 0; i < values.length; i++) {
            const t = CV.position(values[i] * field.factor, scale);
            pixels[i] = table[scale.signed ? Math.floor(128 + 127 * t + 0.5) : Math.floor(255 * t + 0.5)];
          }
          ctx.putImageData(image, 0, 0);
        }
        under.replaceChildren(...(layered ? [el("span", { text: `${layer + 1}·${head + 1}` })] : []), el("b", { text: figures ? short(figures[index]) : "" }));
        cell.setAttribute("aria-label", tells);
        if (preview && preview[0] === layer && preview[1] === head) said.textContent = tells;
      });
      clear.style.visibility = pins.length ? "visible" : "hidden";
      const scale = field.sum ? " on their own scale" : "";
      title.textContent = word === null ? every : `${every}${scale}, for \u201c${text}\u201d`;
    }
    return { node, paint };
  }

  Object.assign(CV, { strip });
})();
