// All layers and heads as tiny maps of the shown word, on the same colour scale as the picture.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, amount, percent } = CV;

  const MOST_PHOTOS = 16; // up to so many maps the photo shows behind each

  /**
   * @param act {preview(layer, head), leave(), pin(layer, head)}; layer and head are indices
   * @returns {node, paint(state)}; node is null where there is only one map
   */
  function strip(payload, field, act) {
    if (!field.hasHeads) return { node: null, paint() {} };
    const cells = [];
    const few = field.layers.length * field.heads <= MOST_PHOTOS;
    const { width, height } = payload.photo;
    const [x0, y0, x1, y1] = payload.view.crop_xyxy;
    // With the photo behind it a map lies where the model's crop lies.
    const place = few
      ? { left: x0 / width, top: y0 / height, width: (x1 - x0) / width, height: (y1 - y0) / height }
      : { left: 0, top: 0, width: 1, height: 1 };
    const aspect = few ? Math.min(2, Math.max(0.5, width / height)) : field.gw / field.gh;
    const grid = el("div", {
      class: "cv-heads",
      role: "toolbar",
      "aria-label": "Layers down, heads across. Arrow keys preview, Enter pins.",
      style: { "--cv-heads": String(field.heads), "--cv-head-aspect": String(aspect) },
    });
    const said = el("p", { class: "cv-note cv-heads-said", text: "" });
    const idle = "Point at a head to look through it alone, click to keep it.";
    said.textContent = idle;
    const layered = field.layers.length > 1;
    if (layered) {
      grid.classList.add("cv-layered");
      grid.append(el("span"));
      for (let head = 0; head < field.heads; head++) {
        grid.append(el("span", { class: "cv-heads-name", text: String(head + 1), "aria-hidden": "true" }));
      }
    }
    field.layers.forEach((label, layer) => {
      if (layered) grid.append(el("span", { class: "cv-heads-layer", text: label, title: label }));
      for (let head = 0; head < field.heads; head++) {
        const canvas = el("canvas", { width: field.gw, height: field.gh, "aria-hidden": "true" });
        for (const [key, share] of Object.entries(place)) canvas.style[key] = `${100 * share}%`;
        const cell = el(
          "button",
          { type: "button", class: "cv-head", tabindex: cells.length ? "-1" : "0", "aria-pressed": "false" },
          few ? el("img", { src: payload.photo.src, alt: "", draggable: "false" }) : null,
          canvas,
          layered ? null : el("span", { class: "cv-head-name", text: String(head + 1), "aria-hidden": "true" }),
        );
        cell.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && act.preview(layer, head));
        cell.addEventListener("focus", () => {
          cells.forEach((other) => other.cell.setAttribute("tabindex", other.cell === cell ? "0" : "-1"));
          if (cell.matches(":focus-visible")) act.preview(layer, head);
        });
        cell.addEventListener("blur", () => act.leave());
        cell.addEventListener("click", () => act.pin(layer, head));
        cells.push({ cell, canvas, layer, head, label });
        grid.append(cell);
      }
    });
    grid.addEventListener("pointerleave", () => act.leave());
    grid.addEventListener("keydown", (event) => {
      const here = cells.findIndex(({ cell }) => cell === document.activeElement);
      if (here < 0) return;
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: field.heads, ArrowUp: -field.heads }[event.key];
      if (!step && event.key !== "Escape") return;
      event.preventDefault();
      if (!step) return act.pin(null, null);
      const next = here + step;
      if (next >= 0 && next < cells.length) cells[next].cell.focus({ focusVisible: true });
    });

    /** @param state {word or null, layer, head (pinned), preview: [layer, head] or null, own, cmap} */
    const every = layered ? "Every layer and head" : "Every head";
    const title = el("h2", { class: "cv-label", text: every });

    function paint({ word, text, layer, head, preview, own, cmap, opacity }) {
      for (const { cell, canvas, layer: l, head: h, label } of cells) {
        cell.setAttribute("aria-pressed", String(layer === l && head === h));
        const ctx = canvas.getContext("2d");
        ctx.clearRect(0, 0, canvas.width, canvas.height);
        const name = layered ? `${label}, head ${h + 1}` : `head ${h + 1}`;
        let about = name;
        if (word !== null) {
          const values = field.values(word, l, h);
          const scale = field.scaleFor(values, { layer: l, head: h, own });
          const table = CV.packedTable(cmap, few ? opacity : 1, scale.signed);
          const image = new ImageData(field.gw, field.gh);
          const pixels = new Uint32Array(image.data.buffer);
          let top = -Infinity;
          for (let i = 0; i < values.length; i++) {
            const t = CV.position(values[i] * field.factor, scale);
            pixels[i] = table[scale.signed ? Math.floor(128 + 127 * t + 0.5) : Math.floor(255 * t + 0.5)];
            if (values[i] > top) top = values[i];
          }
          ctx.putImageData(image, 0, 0);
          const nullMass = field.nullMass(word, l, h);
          about = `${name}: “${text}” peaks at ${amount(top * field.factor, field)}${field.isProbability ? " chance" : ""}`;
          if (nullMass !== null) about += `, found ${percent(1 - nullMass)}`;
        }
        cell.setAttribute("aria-label", about);
        if (preview && preview[0] === l && preview[1] === h) said.textContent = about;
      }
      if (!preview) said.textContent = idle;
      const scale = field.sum ? " on their own scale" : "";
      title.textContent = word === null ? every : `${every}${scale}, for \u201c${text}\u201d`;
    }

    const node = el(
      "section",
      { class: "cv-strip", "aria-label": every },
      title,
      grid,
      said,
    );
    return { node, paint };
  }

  Object.assign(CV, { strip });
})();
