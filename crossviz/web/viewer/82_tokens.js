// The picture as the model wrote it: a codebook's entry at each place. Pointing at one shows everywhere it is used.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  /**
   * @param {Generation} generation
   * @param {Pick<Stage, "photo">} stage
   * @param {{tokens: boolean}} prefs
   * @param {{look: (places: number[]) => void, say: Live}} act where the entry that is pointed at stands
   * @returns {TokenPart} node null where there is no codebook
   */
  function tokens({ tokens: own, codebook, grid, written }, stage, prefs, act) {
    if (!own) return { node: null, paint() {}, mark() {} };
    const codes = own;
    const used = [...new Set(codes)];
    const idle = `Point at an entry, or move with the arrow keys: everywhere it is used. ${used.length} different entries are.`;
    const said = el("p", { class: "cv-note", text: idle });
    const look = el("canvas", { class: "cv-code-look", width: 64, height: 64, "aria-hidden": "true" });
    const shows = el("p", { class: "cv-note" });
    const strip = codebook && el("img", { src: codebook.src, alt: "" });
    let done = Infinity;
    /** @type {number | null} */
    let shown = null;

    const cells = codes.map((code, place) => {
      const cell = el("button", { type: "button", class: "cv-code", tabindex: place ? "-1" : "0", text: String(code) });
      cell.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && point(place));
      cell.addEventListener("focus", () => {
        cells.forEach((other) => other.setAttribute("tabindex", other === cell ? "0" : "-1"));
        if (cell.matches(":focus-visible")) point(place, true);
      });
      cell.addEventListener("blur", () => point(null));
      cell.addEventListener("click", () => point(place, true));
      return cell;
    });
    const sheet = el(
      "div",
      {
        class: "cv-codes",
        role: "toolbar",
        "aria-label": "The codebook's entry at each place, row by row. Arrow keys move.",
        style: { "--cv-columns": String(grid.width) },
      },
      ...cells,
    );
    sheet.addEventListener("pointerleave", () => sheet.contains(document.activeElement) || point(null));
    sheet.addEventListener("keydown", (event) => {
      const here = cells.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: grid.width, ArrowUp: -grid.width }[event.key];
      if (here < 0 || (step === undefined && event.key !== "Escape")) return;
      event.preventDefault();
      if (step === undefined) return point(null);
      const next = here + step;
      const wraps = Math.abs(step) === 1 && Math.floor(next / grid.width) !== Math.floor(here / grid.width);
      if (cells[next] && !wraps) cells[next].focus({ focusVisible: true });
    });
    const node = el(
      "details",
      { class: "cv-tokens", open: prefs.tokens },
      el("summary", { text: "Tokens" }),
      el("p", {
        class: "cv-note",
        text: `The model wrote ${codes.length} numbers, one for each place. Each is an entry of a codebook, and the decoder draws the picture from them.`,
      }),
      el("div", { class: "cv-codes-row" }, sheet, el("div", { class: "cv-code-side" }, look, shows, said)),
    );
    node.addEventListener("toggle", () => {
      prefs.tokens = node.open;
      if (!node.open) point(null);
    });

    /** @type {(place: number) => boolean} */
    const there = (place) => !written || written[place] < done;

    /** @type {(place: number | null, tell?: boolean) => void} */
    function point(place, tell = false) {
      const code = place === null || !there(place) ? null : codes[place];
      if (code === shown) return;
      shown = code;
      const places = code === null ? [] : [...codes.keys()].filter((at) => codes[at] === code && there(at));
      cells.forEach((cell, at) => cell.classList.toggle("cv-same", code !== null && codes[at] === code && there(at)));
      said.textContent = code === null ? idle : `Entry ${code} is used at ${places.length} of ${codes.length} places.`;
      draw(code, places[0]);
      act.look(places);
      if (tell && code !== null) act.say(said.textContent);
    }
    /**
     * What the entry looks like: what the decoder makes of it alone, or else the piece of the picture where it stands.
     * @type {(code: number | null, place: number) => void}
     */
    function draw(code, place) {
      const pen = /** @type {CanvasRenderingContext2D} */ (look.getContext("2d"));
      pen.clearRect(0, 0, look.width, look.height);
      pen.imageSmoothingEnabled = false;
      const at = code === null || !codebook ? -1 : codebook.entries.indexOf(code);
      shows.textContent = code === null ? "" : at >= 0 ? "what the decoder draws of it alone" : "the picture at its first place";
      if (code === null) return;
      if (at >= 0 && codebook && strip) {
        const { width, height } = codebook;
        return pen.drawImage(strip, at * width, 0, width, height, 0, 0, look.width, look.height);
      }
      const [w, h] = [stage.photo.naturalWidth / grid.width, stage.photo.naturalHeight / grid.height];
      pen.drawImage(stage.photo, (place % grid.width) * w, Math.floor(place / grid.width) * h, w, h, 0, 0, look.width, look.height);
    }
    return {
      node,
      /** What had been written after so many steps. */
      paint(steps) {
        done = steps;
        cells.forEach((cell, place) => {
          const text = there(place) ? String(codes[place]) : "\u00b7";
          CV.say(cell, text);
          cell.setAttribute("aria-label", there(place) ? `entry ${codes[place]}` : "not written yet");
        });
      },
      /** The place that is pointed at in the picture. */
      mark(patch) {
        const marked = patch && patch.row * grid.width + patch.col;
        cells.forEach((cell, place) => cell.classList.toggle("cv-marked", place === marked));
      },
    };
  }

  Object.assign(CV, { tokens });
})();
