// The stage: the photo, the heat over it, the outlines over that, and the pointer or keyboard cursor on the patch grid.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  const BACKING = 512; // pixels of the heat canvas's long side; CSS scales it to the photo
  const KEPT = 32; // heats that were drawn, each of up to 1 MB
  const STAGE_ASPECT = [0.86, 2.4]; // the stage keeps within these; a taller or wider photo is centred in it

  // The design variables that lie on the picture are the same in light and dark, and in every explanation: read once, when
  // the style is there. Reading makes the browser work out the style of all that is new.
  /** @type {Palette | null} */
  let known = null;

  /**
   * Colours that the canvases need, read from the design variables.
   * @type {(node: HTMLElement) => Palette}
   */
  function palette(node) {
    const css = getComputedStyle(node);
    /** @type {(name: string) => string} */
    const get = (name) => css.getPropertyValue(`--cv-${name}`).trim();
    return {
      line: get("contour"),
      halo: get("contour-halo"),
      unseen: get("unseen"),
      hatch: get("unseen-hatch"),
      grid: get("grid"),
      stripe: get("stripe"),
      stripeInk: get("stripe-ink"),
      ground: CV.parseHex(get("bar-ground")),
      hues: [1, 2, 3, 4, 5, 6].map((i) => get(`hue-${i}`)),
      paper: get("export-paper"),
      ink: get("export-ink"),
      muted: get("export-muted"),
      font: css.fontFamily,
    };
  }

  /**
   * The heat for a state, at any size: the canvas and the download both come from here.
   * @type {(payload: Payload, field: Field, state: MapState, words: ShownWord[], hues: string[], size: Size) => ImageData}
   */
  function heatFor(payload, field, state, words, hues, size) {
    const options = { ...size, smooth: state.smooth, opacity: state.opacity, cmap: state.cmap };
    /** @type {(word: What) => {values: Float64Array, scale: Scale}} */
    const one = (word) => {
      const values = field.values(word, state.layer, state.head);
      return { values, scale: field.scaleFor(values, state) };
    };
    if (words.length === 1) {
      const { values, scale } = one(words[0].word);
      return CV.heatOne(payload, field, values, scale, options);
    }
    const layers = words.map(({ word, hue }) => ({ ...one(word), rgb: CV.parseHex(hues[hue]) }));
    return CV.heatMany(payload, field, layers, options);
  }

  /**
   * Hatching, what the model saw, outlines, stripe and cursor, in display pixels.
   * @type {(ctx: CanvasRenderingContext2D, payload: Payload, field: Field, state: MapState, words: ShownWord[], colours: Palette, at: Size & {cursor: Patch | null, thin: number}) => void}
   */
  function inkOn(ctx, payload, field, state, words, colours, { width, height, cursor, thin }) {
    const to = CV.gridToDisplay(payload, width, height);
    CV.hatchUnseen(ctx, payload, width, height, colours);
    if (state.saw) CV.strokeSeen(ctx, payload, colours, { width, height, thin });
    for (const { word, hue } of state.contour === 0 ? [] : words) {
      const line = words.length > 1 ? colours.hues[hue] : colours.line;
      const segments = field.outline(word, state.layer, state.head, state.smooth, state.contour);
      CV.strokeOutline(ctx, segments, to, { line, halo: colours.halo }, thin);
    }
    if (cursor) CV.strokePatch(ctx, cursor.row, cursor.col, to, colours, thin);
    if (!payload.model.trained) CV.strokeUntrained(ctx, width, height, colours);
  }

  /**
   * @param {Payload} payload
   * @param {Field} field
   * @param {PatchAct} act
   * @param {Drawn} [draw] what another than the words' own maps is drawn with
   * @returns {Stage}
   */
  function stage(payload, field, act, draw = {}) {
    const aspect = payload.photo.width / payload.photo.height;
    const held = Math.min(STAGE_ASPECT[1], Math.max(STAGE_ASPECT[0], aspect));
    const size =
      aspect >= 1
        ? { width: BACKING, height: Math.max(1, Math.round(BACKING / aspect)) }
        : { width: Math.max(1, Math.round(BACKING * aspect)), height: BACKING };
    const photo = el("img", { class: "cv-photo", src: payload.photo.src, alt: "The photo", draggable: "false", decoding: "sync" });
    const heats = [0, 1].map(() => el("canvas", { class: "cv-heat", width: size.width, height: size.height }));
    const ink = el("canvas", { class: "cv-ink" });
    const told = el("p", { id: CV.uid("told"), class: "cv-told" });
    const frame = el(
      "div",
      {
        class: "cv-frame",
        tabindex: "0",
        role: "application",
        "aria-roledescription": "patch grid",
        "aria-describedby": told.id,
        "aria-label": `The photo, as ${field.gh} rows of ${field.gw} patches. Arrow keys move from patch to patch, Escape leaves.`,
        style: { "--cv-aspect": String(aspect), "--cv-fit": aspect >= held ? "1" : "0" },
      },
      photo,
      ...heats,
      ink,
    );
    frame.dataset.fit = aspect >= held ? "width" : "height";
    const node = el("div", { class: "cv-stage", style: { "--cv-stage-aspect": String(held) } }, frame, told);
    const still = window.matchMedia("(prefers-reduced-motion: reduce)");
    let front = 0;
    /** @type {{state: MapState, words: ShownWord[], cursor: Patch | null, field: Field} | null} */
    let last = null;

    /** @type {() => Palette} */
    const colours = () => {
      if (!known || !known.line) known = palette(node);
      return known;
    };
    let box = { width: 0, height: 0 };

    /** @type {Map<string, ImageData>} */
    const drawn = new Map(); // of single words or phrases, those drawn last at the end
    /**
     * The heat at the canvas's size; of one word or phrase it is kept.
     * @param {MapState} state
     * @param {ShownWord[]} words
     * @param {Field} of
     * @returns {ImageData}
     */
    function heatAt(state, words, of) {
      const make = () => heatFor(payload, of, state, words, colours().hues, size);
      if (words.length > 1 || of !== field || state.peek) return make(); // of heads that are passed over there are too many
      const { layer, head, smooth, own, cmap, opacity } = state;
      const key = [words[0].word, layer, head, smooth, own, cmap, opacity].join(" ");
      const image = drawn.get(key) || make();
      drawn.delete(key);
      if (drawn.size >= KEPT) drawn.delete(/** @type {string} */ (drawn.keys().next().value));
      drawn.set(key, image);
      return image;
    }

    function drawInk() {
      if (!last) return;
      const ratio = Math.min(3, window.devicePixelRatio || 1);
      const [w, h] = [Math.max(1, Math.round(box.width * ratio)), Math.max(1, Math.round(box.height * ratio))];
      if (ink.width !== w || ink.height !== h) Object.assign(ink, { width: w, height: h });
      const ctx = /** @type {CanvasRenderingContext2D} */ (ink.getContext("2d"));
      ctx.clearRect(0, 0, w, h);
      inkOn(ctx, payload, last.field, last.state, last.words, colours(), {
        width: w,
        height: h,
        cursor: last.cursor,
        thin: 1.25 * ratio,
      });
      draw.ink?.(ctx, colours(), { width: w, height: h });
    }

    /**
     * @param {MapState} state
     * @param {ShownWord[]} words none leaves the plain photo
     * @param {Patch | null} cursor
     * @param {boolean} heatChanged
     * @param {Field} [of] the field that they are of
     * @param {boolean} [lines] whether what lies over the heat is drawn now; else `ink` is to follow
     */
    function paint(state, words, cursor, heatChanged, of = field, lines = true) {
      last = { state, words, cursor, field: of };
      frame.classList.toggle("cv-active", words.length > 0);
      if (heatChanged) {
        if (!still.matches) front = 1 - front; // the one fades into the other
        const canvas = heats[front];
        const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
        ctx.clearRect(0, 0, size.width, size.height);
        const heat = () => (draw.heat ? draw.heat(state, words, size) : heatAt(state, words, of));
        if (words.length) ctx.putImageData(heat(), 0, 0);
        heats[front].classList.add("cv-front");
        heats[1 - front].classList.remove("cv-front");
      }
      if (lines) drawInk();
    }

    /** @type {(event: MouseEvent) => Patch | null} */
    const patchAt = (event) => {
      const box = frame.getBoundingClientRect();
      const [x0, y0, x1, y1] = payload.view.crop_xyxy;
      const sx = ((event.clientX - box.left) / box.width) * payload.photo.width;
      const sy = ((event.clientY - box.top) / box.height) * payload.photo.height;
      const col = Math.floor(((sx - x0) / (x1 - x0)) * field.gw);
      const row = Math.floor(((sy - y0) / (y1 - y0)) * field.gh);
      return row >= 0 && col >= 0 && row < field.gh && col < field.gw ? { row, col } : null;
    };
    /** @type {Patch | null} */
    let at = null;
    /** @type {(patch: Patch | null, byKey?: boolean) => void} */
    const go = (patch, byKey) => {
      at = patch;
      if (patch) act.patch(patch.row, patch.col, byKey);
      else act.leave();
    };
    frame.addEventListener("pointermove", (event) => {
      const patch = patchAt(event);
      if (patch && at && patch.row === at.row && patch.col === at.col) return;
      if (patch || at) go(patch, false);
    });
    frame.addEventListener("pointerdown", (event) => event.pointerType === "touch" && go(patchAt(event), false));
    frame.addEventListener("click", (event) => {
      const patch = /** @type {Element} */ (event.target).closest(".cv-box-sheet") ? null : patchAt(event);
      if (patch) act.pick(patch.row, patch.col);
    });
    frame.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && at && go(null));
    frame.addEventListener("focus", () => {
      if (!frame.matches(":focus-visible")) return;
      go(at || { row: Math.floor(field.gh / 2), col: Math.floor(field.gw / 2) }, true);
    });
    frame.addEventListener("blur", () => at && go(null));
    frame.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (event.key === "Escape") return at ? go(null) : act.clear();
      if (event.key === "Enter" && at) return act.pick(at.row, at.col);
      if (!step) return;
      event.preventDefault();
      const from = at || { row: Math.floor(field.gh / 2), col: Math.floor(field.gw / 2) };
      /** @type {(v: number, n: number) => number} */
      const clamp = (v, n) => Math.min(n - 1, Math.max(0, v));
      go({ row: clamp(from.row + step[0], field.gh), col: clamp(from.col + step[1], field.gw) }, true);
    });

    const observer = new ResizeObserver(([entry]) => {
      box = entry.contentRect; // asking for the size in drawInk would force a layout on every word
      drawInk();
    });
    observer.observe(frame);
    /**
     * The text equivalent of what is drawn.
     * @param {string[]} sentences
     */
    const describe = (sentences) => (told.textContent = sentences.join(" ") || "The plain photo.");
    /** @type {(() => void) | null} */
    let release = null;
    /** @type {(end: () => void) => void} */
    const claim = (end) => {
      if (release && release !== end) release();
      release = end;
    };
    /**
     * Works out what showing a word will need.
     * @param {MapState} state
     * @param {What} word
     */
    function prepare(state, word) {
      if (state.contour) CV.linesOf(field.outline(word, state.layer, state.head, state.smooth, state.contour));
      heatAt(state, [{ word, hue: 0 }], field);
    }
    return { node, frame, paint, ink: drawInk, prepare, colours, photo, size, claim, describe, heat: () => heats[front], stop: () => observer.disconnect() };
  }

  Object.assign(CV, { stage, heatFor, inkOn });
})();
