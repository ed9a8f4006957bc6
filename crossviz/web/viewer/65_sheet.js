// The sheet of arithmetic: a cell step by step, one per line, each with its formula, its sentence and its numbers. The
// lines that a step is computed from are lit while it is pointed at, and those that come of it are marked.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, uid } = CV;

  const SHARED = "context"; // the parts of this sum are drawn on one scale, so that they can be added up by eye
  const AROUND = 3; // patches to each side of the one whose piece of the photo is shown

  /**
   * The piece of the photo around a patch, with the patch framed.
   * @type {(payload: Payload, stage: Stage, patch: [row: number, col: number]) => HTMLCanvasElement}
   */
  function piece(payload, stage, [row, col]) {
    const { photo } = stage;
    const [x0, y0, x1, y1] = payload.view.crop_xyxy;
    const [w, h] = [(x1 - x0) / payload.grid.width, (y1 - y0) / payload.grid.height];
    const factor = photo.naturalWidth / payload.photo.width || 1; // the payload's photo may be smaller
    const [left, top] = [x0 + (col - AROUND) * w, y0 + (row - AROUND) * h];
    const count = 2 * AROUND + 1;
    const canvas = el("canvas", { class: "cv-piece", width: 112, height: Math.max(1, Math.round((112 * h) / w)), role: "img", "aria-label": "The photo around the patch, which is framed" });
    const ctx = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    const [kx, ky] = [canvas.width / count, canvas.height / count];
    const { line, halo } = stage.colours();
    const paint = () => {
      ctx.clearRect(0, 0, canvas.width, canvas.height);
      ctx.drawImage(photo, left * factor, top * factor, count * w * factor, count * h * factor, 0, 0, canvas.width, canvas.height);
      for (const [colour, width] of [[halo, 4], [line, 2]]) {
        Object.assign(ctx, { strokeStyle: colour, lineWidth: width });
        ctx.strokeRect(AROUND * kx, AROUND * ky, kx, ky);
      }
    };
    if (photo.complete) paint();
    else photo.addEventListener("load", paint, { once: true });
    return canvas;
  }

  /**
   * One line.
   * @param {SheetStep} step
   * @param {Sheet} sheet
   * @param {SheetAbout} about
   * @param {number} number
   * @returns {SheetLine}
   */
  function line(step, sheet, about, number) {
    const scale = step.formula === SHARED ? Math.max(...step.strips.map(({ values }) => CV.largest(values))) : null;
    const strips = step.strips.map((strip) => CV.numbers(strip, about, scale));
    const set = CV.formula(step.formula, {
      count: step.strips[0].values.length,
      heads: sheet.heads,
      given: step.inputs.some((input) => input.endsWith("entry")) ? "x\u0302" : "x",
    });
    const button = el("button", { type: "button", class: "cv-line-name", tabindex: "-1" }, el("span", { class: "cv-line-number", text: String(number) }), el("span", { text: step.name }));
    const aside = step.id === about.pieceOf ? about.piece() : null;
    const node = el(
      "li",
      { class: "cv-line" },
      el("div", { class: "cv-line-head" }, button, set),
      el("p", { class: "cv-line-said", text: step.sentence }),
      el("div", { class: "cv-line-numbers" }, aside, ...strips.map(({ node: strip }) => strip)),
    );
    /** @type {number | null} */
    let at = null; // of the step's last strip, which is what comes out of it
    const result = strips[strips.length - 1];
    return {
      step,
      node,
      button,
      /** @param {number} by */
      walk(by) {
        at = at === null ? (by > 0 ? 0 : result.count - 1) : Math.min(result.count - 1, Math.max(0, at + by));
        return result.point(at);
      },
      rest() {
        if (at !== null) result.point(null);
        at = null;
      },
    };
  }

  /**
   * @param {Sheet} sheet what Python's `Inside.as_dict` gives
   * @param {Payload} payload
   * @param {Stage} stage
   * @param {{said: Live}} act to be read out
   * @returns {{node: HTMLElement, focus: () => void}} focus: the keyboard onto the first step
   */
  function sheetOf(sheet, payload, stage, act) {
    const about = {
      rows: sheet.grid[0],
      columns: sheet.grid[1],
      others: sheet.others,
      ground: stage.colours().ground,
      pieceOf: sheet.steps.findLast(({ formula }) => formula === "patch")?.id,
      piece: () => piece(payload, stage, sheet.patch),
    };
    const lines = sheet.steps.map((step, i) => line(step, sheet, about, i + 1));
    const byId = new Map(lines.map((each) => [each.step.id, each]));
    const node = el("div", { class: "cv-sheet", role: "group", "aria-label": "The arithmetic, step by step. Up and down arrow move from step to step, left and right from number to number." });
    /** @type {SheetLine | null} */
    let chosen = null;
    /** @type {HTMLElement | null} */
    let list = null;
    /** @type {{part: string, title: string} | null} */
    let heading = null;
    let group = 0;
    for (const each of lines) {
      const { part, group: title } = each.step;
      if (!heading || heading.part !== part || heading.title !== title) {
        if (part && (!heading || heading.part !== part)) {
          node.append(el("h3", { class: "cv-sheet-part", text: part }));
          group = 0;
        }
        const id = uid("sheet");
        heading = { part, title };
        group += 1;
        list = el("ol", { class: "cv-lines", "aria-labelledby": id });
        node.append(el(part ? "h4" : "h3", { id, class: "cv-sheet-group", text: part || title !== "Both steps together" ? `${group}. ${title}` : title }), list);
      }
      list?.append(each.node);
      each.node.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && light(each));
      each.button.addEventListener("focus", () => choose(each));
      each.button.addEventListener("click", () => choose(each));
    }
    node.addEventListener("pointerleave", () => light(chosen));
    node.addEventListener("focusout", (event) => {
      if (node.contains(event.relatedTarget)) return;
      chosen?.rest();
      chosen = null;
      light(null);
    });

    /**
     * Lights the lines that one is computed from, and marks those that come of it.
     * @type {(of: SheetLine | null) => void}
     */
    function light(of) {
      for (const { node: each, step } of lines) {
        each.classList.toggle("cv-lit", of !== null && of.step.inputs.includes(step.id));
        each.classList.toggle("cv-next", of !== null && step.inputs.includes(of.step.id));
        each.classList.toggle("cv-here", of !== null && of.step === step);
      }
    }
    /** @type {(each: SheetLine) => void} */
    function choose(each) {
      if (chosen === each) return;
      chosen?.rest();
      chosen = each;
      lines.forEach(({ button }) => {
        button.setAttribute("tabindex", button === each.button ? "0" : "-1");
        button.toggleAttribute("aria-current", button === each.button);
      });
      each.button.setAttribute("aria-current", "step");
      light(each);
      const from = each.step.inputs.map((input) => byId.get(input)?.step.name);
      act.said(`Step ${lines.indexOf(each) + 1} of ${lines.length}, ${each.step.name}. ${each.step.sentence}${from.length ? ` Computed from: ${from.join(", ")}.` : ""}`);
    }
    node.addEventListener("keydown", (event) => {
      const here = lines.findIndex(({ button }) => button === document.activeElement);
      if (here < 0) return;
      const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: lines.length - 1 }[event.key];
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (to === undefined && by === undefined && event.key !== "Escape") return;
      event.preventDefault();
      if (by) return act.said(lines[here].walk(by));
      if (to === undefined) return lines[here].rest();
      lines[Math.min(lines.length - 1, Math.max(0, to))].button.focus({ focusVisible: true });
    });
    lines[0].button.setAttribute("tabindex", "0");
    return { node, focus: () => lines[0].button.focus({ focusVisible: true }) };
  }

  Object.assign(CV, { sheetOf });
})();
