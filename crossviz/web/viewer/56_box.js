// What is laid over the photo: a box that the reader draws, by pointer or keys, and a shade on patches that are not beyond
// chance.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  const STEP = 0.02; // of the photo's side, per arrow key
  const LEAST = 0.01; // of the photo's side: a smaller box is a slip of the hand
  const LEVEL = 0.05; // below this p-value a patch is beyond chance, as crossviz/trust/calibration.py

  const MARK = {
    draw: "Mark the thing",
    remove: "Remove the box",
    idle: "A box for the word that is shown; it stays for the next ones.",
    about: "",
    className: "cv-box",
  };

  /**
   * @param {Payload} payload
   * @param {Pick<Stage, "frame" | "claim">} stage
   * @param {((box: Box | null) => void) | null} onBox called with [x0, y0, x1, y1] in pixels of the photo, or null when
   *   the box is taken away; null where the box is only shown
   * @param {typeof MARK} [texts] what the controls say; `about` begins what the box is called
   * @returns {{node: HTMLElement | null, box: () => Box | null, put: (box: Box | null) => void}} node: its controls or
   *   null; box: in pixels or null
   */
  function boxOn(payload, stage, onBox, texts = MARK) {
    const { width, height } = payload.photo;
    /** @type {Box | null} */
    let share = null; // [x0, y0, x1, y1] as shares of the photo
    const live = onBox ? { tabindex: "0", role: "application", "aria-roledescription": "box", on: { keydown: byKey } } : { role: "img" };
    const node = el("div", { class: texts.className, hidden: true, ...live });
    // Lies over the photo only while a box is being drawn, and takes the pointer.
    const sheet = el("div", { class: `${texts.className}-sheet`, hidden: true, on: { pointerdown: start, pointermove: drag, pointerup: end, pointercancel: end } });
    stage.frame.append(node, sheet);
    for (const event of ["pointermove", "pointerdown", "keydown"]) {
      for (const own of [node, sheet]) own.addEventListener(event, (e) => e.stopPropagation());
    }

    const draw = el("button", { type: "button", class: "cv-button", "aria-pressed": "false", text: texts.draw, on: { click: () => drawing(sheet.hidden !== false) } });
    const remove = el("button", { type: "button", class: "cv-button", hidden: true, text: texts.remove, on: { click: clear } });
    const how = el("p", { class: "cv-note" });
    const controls = el("div", { class: "cv-marking" }, el("div", { class: "cv-marking-row" }, draw, remove), how);
    how.textContent = texts.idle;
    const ended = () => drawing(false, true); // another box is being drawn

    /** @type {(v: number) => number} */
    const clamp = (v) => Math.min(1, Math.max(0, v));
    /** @type {() => Box | null} */
    const pixels = () => share && [share[0] * width, share[1] * height, share[2] * width, share[3] * height];

    function show() {
      node.hidden = !share;
      remove.hidden = !share;
      if (!share) return;
      const [x0, y0, x1, y1] = share;
      Object.entries({ left: x0, top: y0, width: x1 - x0, height: y1 - y0 }).forEach(([side, v]) => node.style.setProperty(side, `${100 * v}%`));
      /** @type {(v: number) => number} */
      const say = (v) => Math.round(100 * v);
      const where = `${texts.about ? `${texts.about} ` : ""}Box from ${say(x0)} % left, ${say(y0)} % down, to ${say(x1)} % and ${say(y1)} %.`;
      node.setAttribute("aria-label", onBox ? `${where} Arrow keys move it, with Shift they resize it, Delete removes it.` : where);
    }

    /**
     * Turn drawing on or off; on by keyboard puts a box in the middle and the focus on it.
     * @param {boolean} on
     * @param {boolean} [byHand]
     */
    function drawing(on, byHand = false) {
      sheet.hidden = !on;
      if (on) stage.claim(ended);
      draw.setAttribute("aria-pressed", String(on));
      how.textContent = on ? "Drag over the photo, or move the box with the arrow keys; with Shift they resize it." : texts.idle;
      if (!on || byHand) return;
      if (!draw.matches(":focus-visible")) return;
      if (!share) set([0.375, 0.375, 0.625, 0.625]);
      node.focus({ focusVisible: true });
    }
    /** @type {(next: Box) => void} */
    function set(next) {
      share = next;
      show();
      onBox?.(pixels());
    }
    function clear() {
      if (document.activeElement === node || document.activeElement === remove) draw.focus();
      share = null;
      show();
      onBox?.(null);
    }

    /** @type {Point | null} */
    let from = null;
    /** @type {(event: PointerEvent) => Point} */
    const place = (event) => {
      const box = stage.frame.getBoundingClientRect();
      return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
    };
    /** @type {(one: Point, other: Point) => Box} */
    const between = ([ax, ay], [bx, by]) => [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
    /** @type {Box | null} */
    let before = null;
    /** @type {(event: PointerEvent) => void} */
    function start(event) {
      if (event.button) return;
      event.preventDefault();
      sheet.setPointerCapture(event.pointerId);
      before = share;
      from = place(event);
    }
    /** @type {(event: PointerEvent) => void} */
    function drag(event) {
      if (!from) return;
      share = between(from, place(event));
      show();
    }
    /** @type {(event: PointerEvent) => void} */
    function end(event) {
      if (!from) return;
      const next = between(from, place(event));
      from = null;
      if (event.type === "pointercancel" || next[2] - next[0] < LEAST || next[3] - next[1] < LEAST) {
        share = before;
        show();
        return;
      }
      drawing(false, true);
      set(next);
    }
    /** @type {(event: KeyboardEvent) => void} */
    function byKey(event) {
      if (event.key === "Escape" || event.key === "Enter") {
        event.preventDefault();
        drawing(false, true);
        return draw.focus({ focusVisible: true });
      }
      if (event.key === "Delete" || event.key === "Backspace") {
        event.preventDefault();
        drawing(false, true);
        return clear();
      }
      const step = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      if (!step || !share) return;
      event.preventDefault();
      const [x0, y0, x1, y1] = share;
      if (event.shiftKey) set([x0, y0, clamp(Math.max(x0 + STEP, x1 + step[0])), clamp(Math.max(y0 + STEP, y1 + step[1]))]);
      else {
        const dx = Math.min(1 - x1, Math.max(-x0, step[0]));
        const dy = Math.min(1 - y1, Math.max(-y0, step[1]));
        set([x0 + dx, y0 + dy, x1 + dx, y1 + dy]);
      }
    }
    return {
      node: onBox ? controls : null,
      box: pixels,
      /** @param {Box | null} box */
      put(box) {
        share = box && [box[0] / width, box[1] / height, box[2] / width, box[3] / height];
        show();
      },
    };
  }

  /**
   * A shade over the patches that are not beyond chance: paint(calibration or null).
   * @type {(payload: Payload, field: Field, stage: Stage) => {paint: (calibration: Calibration | null) => void}}
   */
  function chanceShade(payload, field, stage) {
    const canvas = el("canvas", { class: "cv-shade-patches", width: field.gw, height: field.gh, hidden: true, "aria-hidden": "true" });
    const [x0, y0, x1, y1] = payload.view.crop_xyxy;
    const { width, height } = payload.photo;
    const place = { left: x0 / width, top: y0 / height, width: (x1 - x0) / width, height: (y1 - y0) / height };
    for (const [side, share] of Object.entries(place)) canvas.style.setProperty(side, `${100 * share}%`);
    stage.frame.querySelector(".cv-ink")?.before(canvas);
    /** @type {Calibration | null} */
    let last = null;
    return {
      /** @param {Calibration | null} calibration */
      paint(calibration) {
        canvas.hidden = !calibration;
        if (!calibration || calibration === last) return;
        last = calibration;
        const { captions, percentile } = calibration;
        const image = new ImageData(field.gw, field.gh);
        percentile.forEach((value, i) => {
          const p = (1 + captions * (1 - value)) / (1 + captions);
          image.data[4 * i + 3] = p < LEVEL ? 0 : 255;
        });
        /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(image, 0, 0);
      },
    };
  }

  Object.assign(CV, { boxOn, chanceShade });
})();
