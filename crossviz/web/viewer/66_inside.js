// Inside: which cell is opened (word, layer, head, patch), asking the server for its numbers, and the sheet they stand on.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, uid } = CV;

  const SETTLE = 250; // ms that a choice stands before it is asked about
  const PATIENCE = 60_000; // ms without an answer
  const KEPT = 40; // answers
  const TITLE = "Inside: the arithmetic of one cell";
  const ABOUT = "How one word comes to look at one patch, in one head, with the numbers that the model itself computes: step by step, as in the textbook. Click a patch in the photo, or type its row and column, to open another one.";
  const ALONE = "The numbers are the model’s own, and a saved page has no model: open the photo and caption in crossviz to see them.";
  const NO_WORD = "Hold one word, or words that stand side by side, to open a cell.";
  const SILENT = "The server has not answered: try again.";

  let runs = 0; // of this page: numbers that never come twice

  /**
   * @param {Payload} payload
   * @param {Stage} stage
   * @param {Options} options `cells`: what a saved page holds; without `onInside` there is no server
   * @param {Prefs} prefs
   * @param {Live} live
   * @param {{moved: () => void}} act the chosen patch is another
   * @returns {InsidePart}
   */
  function inside(payload, stage, options, prefs, live, act) {
    const summary = el("summary", { text: TITLE });
    const node = el("details", { class: "cv-inside", open: Boolean(prefs.inside) }, summary);
    if (!options.onInside && options.cells) return CV.keptCells(options.cells, node, payload, stage, live, act);
    node.append(el("p", { class: "cv-note", text: options.onInside ? ABOUT : ALONE }));
    if (!options.onInside) return { node, paint() {}, pick() {}, cursor: () => null, cell: () => null, receive() {}, end() {} };

    const { height, width } = payload.grid;
    /** @type {Map<string, InsideMessage>} */
    const answers = new Map(); // key of a question -> message
    /** @type {Record<string, ReturnType<typeof setTimeout>>} */
    const timers = {};
    const kept = prefs.cell && prefs.cell.photo === payload.photo.src ? prefs.cell : null;
    /** @type {Patch | null} */
    let patch = kept && kept.row < height && kept.col < width ? { row: kept.row, col: kept.col } : null;
    /** @type {number | null} */
    let token = null; // of words of several tokens; null: the server chooses
    /** @type {{span: Span | null, layer: number | null, head: number | null}} */
    let last = { span: null, layer: null, head: null };
    /** @type {{run: number, key: string} | null} */
    let asked = null; // {run, key}
    /** @type {Sheet | null} */
    let shown = null; // the sheet that is drawn

    /** @type {(label: string, max: number, change: () => void) => {input: HTMLInputElement, node: HTMLElement}} */
    const field = (label, max, change) => {
      const id = uid("cell");
      const input = el("input", { id, class: "cv-cell-input", type: "number", min: 1, max, step: 1, inputmode: "numeric" });
      input.addEventListener("change", change);
      return { input, node: el("div", { class: "cv-field" }, el("label", { for: id, class: "cv-label", text: label }), input) };
    };
    const typed = () => {
      const [r, c] = [row, col].map(({ input }) => Math.round(Number(input.value)));
      problem.hidden = r >= 1 && r <= height && c >= 1 && c <= width;
      if (problem.hidden) return pick(r - 1, c - 1);
      problem.textContent = `Rows go from 1 to ${height}, columns from 1 to ${width}.`; // the sheet stays
    };
    const row = field("Row", height, typed);
    const col = field("Column", width, typed);
    const peak = el("button", { type: "button", class: "cv-button", text: "Most looked-at patch", on: { click: () => pick(null, 0) } });
    const pieces = CV.select("Token", [], "", (value) => ((token = Number(value)), ask()));
    const which = el("p", { class: "cv-cell-which" });
    const picked = el("p", { class: "cv-note cv-cell-picked" });
    const problem = el("p", { class: "cv-cell-problem", role: "alert", hidden: true });
    const again = el("button", { type: "button", class: "cv-link", text: "Try again", hidden: true, on: { click: () => { answers.delete(keyNow()); ask(); } } });
    const place = el("div", { class: "cv-cell" });
    node.append(el("div", { class: "cv-cell-choice" }, row.node, col.node, peak, pieces.node), which, picked, problem, again, place);
    pieces.node.hidden = true;
    node.addEventListener("toggle", () => {
      prefs.inside = node.open;
      act.moved();
      if (node.open) ask();
    });

    /** @type {() => CellQuestion} */
    const question = () => ({ ...last.span, token, layer: last.layer, head: last.head, row: patch && patch.row, col: patch && patch.col });
    const keyNow = () => JSON.stringify(question());
    /** @type {(name: string, ms: number, call: () => void) => void} */
    const after = (name, ms, call) => {
      clearTimeout(timers[name]);
      timers[name] = setTimeout(call, ms);
    };

    /**
     * @param {{word: What}[]} active what is shown
     * @param {Through} state the layer and head that are chosen, null for all
     */
    function paint(active, state) {
      const span = CV.shownSpan(payload.caption.words, active);
      const same = span && last.span && span.start === last.span.start && span.end === last.span.end;
      if (!same) token = null;
      // Of several pinned heads none is the one: the strongest of all is opened, as where none is pinned.
      const { layer, head } = state;
      last = Array.isArray(head) ? { span, layer: null, head: null } : { span, layer, head };
      ask();
    }
    function ask() {
      clearTimeout(timers.settle);
      if (!node.open) return;
      if (!last.span) {
        asked = null;
        return tell(NO_WORD);
      }
      const key = keyNow();
      const known = answers.get(key);
      if (known) {
        asked = null;
        return draw(known);
      }
      if (asked && asked.key === key) return;
      asked = null;
      place.setAttribute("aria-busy", "true");
      after("settle", SETTLE, () => {
        asked = { run: ++runs, key };
        after("patience", PATIENCE, () => asked && receive({ run: asked.run, error: SILENT }));
        options.onInside?.({ run: asked.run, id: payload.id, ...question() });
      });
    }
    /**
     * What the server says: {run, inside} or {run, error}. Of a cell that is no longer asked for it is dropped.
     * @type {(message: InsideMessage) => void}
     */
    function receive(message) {
      if (!asked || message.run !== asked.run) return;
      clearTimeout(timers.patience);
      if (message.inside) {
        if (answers.size >= KEPT) answers.delete(/** @type {string} */ (answers.keys().next().value));
        answers.set(asked.key, message);
      }
      asked = null;
      draw(message);
    }

    /**
     * A sentence in the place of the sheet.
     * @param {string} text
     * @param {boolean} [retry]
     */
    function tell(text, retry = false) {
      shown = null;
      place.removeAttribute("aria-busy");
      place.replaceChildren();
      which.textContent = picked.textContent = "";
      problem.textContent = text;
      problem.hidden = false;
      again.hidden = !retry;
    }
    /** @type {(message: InsideMessage) => void} */
    function draw(message) {
      const { inside: sheet } = message;
      if (!sheet) return tell(message.error ?? SILENT, true);
      problem.hidden = again.hidden = true;
      place.removeAttribute("aria-busy");
      if (shown === sheet) return;
      const focused = place.contains(document.activeElement);
      shown = sheet;
      const [r, c] = sheet.patch;
      row.input.value = String(r + 1);
      col.input.value = String(c + 1);
      which.replaceChildren(...CV.cellNamed(sheet));
      picked.textContent = CV.cellNoted(sheet);
      pieces.node.hidden = sheet.tokens.length < 2;
      pieces.control.replaceChildren(...sheet.tokens.map(([index, text]) => el("option", { value: String(index), text })));
      pieces.control.value = String(sheet.token);
      const made = CV.sheetOf(sheet, payload, stage, { said: live });
      place.replaceChildren(made.node);
      if (focused) made.focus();
      act.moved();
    }

    /**
     * Another patch is opened; row null: the one that is looked at most.
     * @type {(r: number | null, c: number) => void}
     */
    function pick(r, c) {
      if (!node.open) return;
      patch = r === null ? null : { row: r, col: c };
      prefs.cell = patch && { photo: payload.photo.src, ...patch };
      if (r !== null) {
        row.input.value = String(r + 1);
        col.input.value = String(c + 1);
        live(`Row ${r + 1}, column ${c + 1} is opened inside.`);
      }
      act.moved();
      ask();
    }
    /**
     * The patch that is open, to be framed in the photo.
     * @returns {Patch | null}
     */
    function cursor() {
      if (!node.open || patch || !shown) return node.open ? patch : null;
      return { row: shown.patch[0], col: shown.patch[1] };
    }
    /** What was asked for the cell that is open, or null. */
    const cell = () => (node.open && shown ? question() : null);
    return { node, paint, pick, cursor, cell, receive, end: () => Object.values(timers).forEach(clearTimeout) };
  }

  Object.assign(CV, { inside });
})();
