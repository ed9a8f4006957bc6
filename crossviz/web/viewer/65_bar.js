// The colour bar under the photo.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, figure } = CV;

  /**
   * What the colour bar is labelled with.
   * @type {(field: BarField, state: Through & {own: boolean}, words: number) => string}
   */
  function barLabel(field, { own, layer, head }, words) {
    if (own && words > 1) return "each word scaled to itself";
    let unit = field.isProbability ? "× chance" : field.unit;
    const single = Array.isArray(head) || (layer !== null && head !== null);
    if (field.groups(layer, head)) unit += single ? ", of single heads" : ", of one part of the sum";
    return own ? `${unit}, scaled to this word alone` : unit;
  }

  /** The colour bar with its ticks; always there, so that nothing jumps. */
  function colourBar() {
    const canvas = el("canvas", { class: "cv-bar", width: 256, height: 1, "aria-hidden": "true" });
    const ticks = el("div", { class: "cv-ticks", "aria-hidden": "true" });
    const label = el("p", { class: "cv-label" });
    const node = el("div", { class: "cv-colourbar", role: "img" }, label, canvas, ticks);
    /** @type {string | null} */
    let shown = null; // all that it depends on: a word that is pointed at seldom changes it
    /** @type {(field: BarField, scale: Scale, state: MapState, words: number, ground: Rgb) => void} */
    function paint(field, scale, state, words, ground) {
      const text = barLabel(field, state, words);
      const key = JSON.stringify([text, scale, state.cmap, state.opacity, state.own, words > 1, ground, field.signed]);
      if (key === shown) return;
      shown = key;
      label.textContent = field.isProbability && !state.own ? `${text} (1 = ${field.alike})` : text;
      CV.paintBar(canvas, {
        cmap: state.cmap,
        opacity: state.opacity,
        signed: field.signed,
        rgb: words > 1 ? [255, 255, 255] : null,
        ground,
      });
      const ownMany = state.own && words > 1;
      const values = ownMany ? [] : CV.barTicks(scale);
      ticks.replaceChildren(
        ...values.map((value) => {
          const t = CV.position(value, scale);
          const tick = el("span", { class: "cv-tick", text: figure(value).replace("-", "\u2212") });
          tick.style.insetInlineStart = `${100 * (field.signed ? (t + 1) / 2 : t)}%`;
          return tick;
        }),
      );
      node.setAttribute("aria-label", `Colour scale, ${text}: ${values.map(figure).join(", ")}`);
    }
    return { node, paint };
  }

  Object.assign(CV, { colourBar, barLabel });
})();
