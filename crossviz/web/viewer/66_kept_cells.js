// Inside, in a page that was saved: the cells that were opened when it was made, with the numbers of then.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  const UNTRAINED = "The weights of this model were not trained: its numbers mean nothing.";
  const KEPT = "This page was saved with the cell below open, and holds its numbers. Other cells need the model: open the photo and caption in crossviz.";
  const SEVERAL = "This page was saved with these cells, and holds their numbers. Others need the model: open the photo and caption in crossviz.";

  /**
   * Which cell a sheet is of, as the parts of a line.
   * @type {(sheet: Sheet) => (Node | string)[]}
   */
  function cellNamed(sheet) {
    const [r, c] = sheet.patch;
    const head = sheet.heads > 1 ? `, head ${sheet.head + 1} of ${sheet.heads}` : "";
    return ["\u201c", el("bdi", { text: sheet.text }), `\u201d at row ${r + 1}, column ${c + 1}, in ${sheet.layer}${head}: ${CV.exact(sheet.prob)} of its attention.`];
  }

  /**
   * What was chosen for the reader, and what the numbers are worth.
   * @type {(sheet: Sheet) => string}
   */
  const cellNoted = (sheet) => [...(sheet.trained ? [] : [UNTRAINED]), ...sheet.picked].join(" ");

  /**
   * @param {Sheet[]} cells as the server's `inside`
   * @param {HTMLDetailsElement} node the section, with its summary
   * @param {Payload} payload
   * @param {Stage} stage
   * @param {Live} live
   * @param {{moved: () => void}} act the open cell is another
   * @returns {InsidePart}
   */
  function keptCells(cells, node, payload, stage, live, act) {
    const which = el("p", { class: "cv-cell-which" });
    const picked = el("p", { class: "cv-note cv-cell-picked" });
    const place = el("div", { class: "cv-cell" });
    let shown = cells[0];
    const choice = CV.select("Cell", cells.map((sheet, i) => [String(i), `${sheet.text}, row ${sheet.patch[0] + 1}, column ${sheet.patch[1] + 1}, ${sheet.layer}, head ${sheet.head + 1}`]), "0", (i) => draw(cells[Number(i)]));
    node.append(el("p", { class: "cv-note", text: cells.length > 1 ? SEVERAL : KEPT }), el("div", { class: "cv-cell-choice", hidden: cells.length < 2 }, choice.node), which, picked, place);
    node.addEventListener("toggle", () => act.moved());

    /** @type {(sheet: Sheet) => void} */
    function draw(sheet) {
      shown = sheet;
      which.replaceChildren(...cellNamed(sheet));
      picked.textContent = cellNoted(sheet);
      place.replaceChildren(CV.sheetOf(sheet, payload, stage, { said: live }).node);
      act.moved();
    }
    let drawn = false;
    return {
      node,
      paint() {
        if (!drawn) draw(shown); // only now is there a stage to frame the patch on
        drawn = true;
      },
      pick() {},
      cursor: () => (node.open ? { row: shown.patch[0], col: shown.patch[1] } : null),
      cell: () => null,
      receive() {},
      end() {},
    };
  }

  Object.assign(CV, { keptCells, cellNamed, cellNoted });
})();
