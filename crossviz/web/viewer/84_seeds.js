// Several pictures of one caption side by side, each with its seed and verdict; and pictures that are being drawn.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, say } = CV;

  /**
   * A row of small pictures, one of which is looked into.
   * @param {(id: string) => void} pick
   */
  function seeds(pick) {
    const row = el("div", { class: "cv-seeds", role: "group", "aria-label": "Pictures of this caption", hidden: true });
    /** @type {Map<string, HTMLElement>} */
    const cards = new Map();
    return {
      node: row,
      /** @type {(generations: Generation[], shown: string | null) => void} */
      paint(generations, shown) {
        row.hidden = generations.length < 2;
        const ids = new Set(generations.map(({ id }) => id));
        for (const [id, card] of cards) {
          if (ids.has(id)) continue;
          card.remove();
          cards.delete(id);
        }
        for (const { id, picture, settings, verdict } of generations) {
          if (cards.has(id)) continue;
          const said = `seed ${settings.seed}`;
          const card = el(
            "button",
            { type: "button", class: "cv-seed", on: { click: () => pick(id) } },
            el("img", { src: picture.src, alt: "" }),
            el("span", { class: "cv-figure", text: said }),
            el("span", { text: CV.shortVerdict(verdict) }),
          );
          cards.set(id, card);
          row.append(card);
        }
        for (const [id, card] of cards) card.setAttribute("aria-pressed", String(id === shown));
      },
    };
  }

  const WAITING = "The model is made ready, or draws for somebody else.";

  /** The picture on its way, as large as the finished one will be. */
  function growing() {
    const picture = el("img", { class: "cv-growing-picture", alt: "The picture so far" });
    const text = el("p", { class: "cv-note" });
    const bar = el("progress", { class: "cv-drawing-bar", max: 1, value: 0, "aria-label": "How much of the picture is drawn" });
    const stage = el("div", { class: "cv-growing-stage" }, picture);
    picture.addEventListener("load", () => (stage.style.aspectRatio = `${picture.naturalWidth} / ${picture.naturalHeight}`));
    const node = el("section", { class: "cv-growing", hidden: true, "aria-label": "The picture on its way" }, stage, bar, text);
    return {
      node,
      /** @type {(progress: DrawingProgress | null) => void} */
      paint(progress) {
        node.hidden = !progress;
        if (!progress) return;
        const { src, step, steps, seed, number, count } = progress;
        if (src) picture.src = src;
        picture.hidden = !src && !picture.src;
        bar.max = Math.max(1, steps);
        bar.value = step;
        const which = count > 1 ? `Picture ${number} of ${count}, ` : "";
        say(text, steps ? `${which}seed ${seed}: step ${step} of ${steps}`.replace(/^s/, "S") : WAITING);
      },
      /** @type {(text: string) => void} */
      stopped(said) {
        say(text, said);
      },
      /** Forgets the picture before. */
      begin() {
        picture.removeAttribute("src");
      },
    };
  }

  Object.assign(CV, { seeds, growing });
})();
