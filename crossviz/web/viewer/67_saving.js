// What is taken away from a view: the picture as a file, and, with a server behind the page, what it can write.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  /**
   * @param options {onSave(format, id, settings), formats: [[suffix, text]]} of the page, or nothing where it stands alone
   * @param {string} id of the payload
   * @param {() => object} view what is drawn
   * @param {() => object} settings
   */
  function saving(options, id, view, settings) {
    const download = () => CV.download(view());
    const button = (text, click) => el("button", { type: "button", class: "cv-button", text, on: { click } });
    if (!options.onSave) return el("div", { class: "cv-saving" }, button("Save as PNG", download));
    const format = CV.select("Save", [["view", "this view, PNG"], ...options.formats], "view", () => undefined, "cv-save");
    const save = button("Save", () => (format.control.value === "view" ? download() : options.onSave(format.control.value, id, settings())));
    return el("div", { class: "cv-saving" }, format.node, save);
  }

  Object.assign(CV, { saving });
})();
