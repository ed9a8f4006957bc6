// What stands under it all: which model and method made the picture, and what is to be known of them.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, figure } = CV;

  /**
   * Of photo and caption, or null where the model has no such figure.
   * @type {(payload: Payload) => string | null}
   */
  const similarity = ({ similarity: value }) => (value === null ? null : figure(value).replace("-", "\u2212"));

  /**
   * What made this picture: model, method, direction, and every note on it.
   * @type {(payload: Payload, field: Field) => HTMLElement}
   */
  function notes(payload, field) {
    const { model, method } = payload;
    const items = [
      ["Model", `${model.title}. ${model.sentence}`],
      ["Attention", model.attention_sentence],
      ["Method", `${method.title}, ${method.direction}, in ${field.isProbability ? "probabilities, shown as multiples of chance" : method.unit}.`],
      ["Seen", CV.seenInWords(payload)],
      ["Similarity", similarity(payload) && `${similarity(payload)} between photo and caption (cosine, -1 to 1)`],
      ...(method.notes || []).map((note) => ["Note", note]),
    ];
    if (payload.caption.cut_at !== null && payload.caption.cut_at !== undefined) {
      items.push(["Note", "The caption is longer than the model reads: the struck words were cut off."]);
    }
    const list = el("dl", { class: "cv-about" });
    let last = null;
    for (const [term, value] of items.filter(([, text]) => text)) {
      list.append(el("div", {}, el("dt", { text: term === last ? "" : term }), el("dd", { text: value })));
      last = term;
    }
    return el("section", { class: "cv-notes", "aria-label": "How this picture was made" }, list);
  }

  Object.assign(CV, { notes, similarity });
})();
