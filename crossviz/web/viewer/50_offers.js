// The caption's noun phrases, offered under its chips: a thin bracket under the words of each. Pointing at it or moving
// there by the arrow keys shows the phrase's map, a click or Enter holds it.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  /**
   * @param {HTMLElement} line the toolbar of words, which positions what is in it
   * @param {HTMLButtonElement[]} chips one per word
   * @param {[number, number][]} phrases first and last word of each
   * @param {Caption} caption
   * @param {WordAct} act what to do with a phrase (`CV.runOf`)
   * @returns {{paint: (shown: What[], held: Map<What, number>) => void, stop: () => void}}
   */
  function offers(line, chips, phrases, caption, act) {
    if (!phrases.length) return { paint() {}, stop() {} };
    const slice = CV.slicer(caption.text);
    const brackets = phrases.map(([first, last], place) => {
      const what = CV.runOf(first, last);
      const text = slice(caption.words[first].start, caption.words[last].end);
      const node = el("button", {
        type: "button",
        class: "cv-offer",
        tabindex: place ? "-1" : "0",
        "aria-label": `${text}, phrase`,
        "aria-pressed": "false",
      });
      node.addEventListener("pointerover", (event) => event.pointerType !== "touch" && act.show(what));
      node.addEventListener("click", () => act.hold(what));
      node.addEventListener("focus", () => {
        brackets.forEach((other) => other.node.setAttribute("tabindex", other.node === node ? "0" : "-1"));
        if (node.matches(":focus-visible")) act.show(what);
      });
      return { node, what, first, last };
    });
    const group = el(
      "div",
      { class: "cv-offers", role: "toolbar", "aria-label": "Phrases of the caption. Arrow keys show a phrase's map, Enter holds it, Escape clears." },
      ...brackets.map(({ node }) => node),
    );
    group.addEventListener("keydown", (event) => {
      const here = brackets.findIndex(({ node }) => node === event.target);
      const rtl = getComputedStyle(line).direction === "rtl";
      const step = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
      const to = step ? (here + step + brackets.length) % brackets.length : { Home: 0, End: brackets.length - 1 }[event.key];
      if (to === undefined && event.key !== "Escape") return;
      event.preventDefault();
      if (to === undefined) act.clear();
      else brackets[to].node.focus({ focusVisible: true });
    });
    line.classList.add("cv-offered");
    line.append(group);

    /** Under the words of each, in as many pieces as the phrase has lines. */
    function place() {
      const whole = line.getBoundingClientRect();
      const [x, y] = [line.scrollLeft - whole.left, line.scrollTop - whole.top];
      for (const { node, first, last } of brackets) {
        /** @type {Map<number, {left: number, right: number}>} */
        const rows = new Map(); // of each line where it lies
        for (const chip of chips.slice(first, last + 1)) {
          const { left, right, bottom } = chip.getBoundingClientRect();
          const row = rows.get(bottom) || { left: Infinity, right: -Infinity };
          rows.set(bottom, { left: Math.min(row.left, left), right: Math.max(row.right, right) });
        }
        const pieces = [...rows].map(([top, { left, right }]) => ({ top: top + y, left: left + x, width: right - left }));
        const at = pieces[0];
        /** @type {(at: {top: number, left: number, width: number}) => {top: string, left: string, width: string}} */
        const px = ({ top, left, width }) => ({ top: `${top}px`, left: `${left}px`, width: `${width}px` });
        Object.assign(node.style, px(at));
        node.replaceChildren(
          ...pieces.map(({ top, left, width }, line) => {
            const open = `${line ? " cv-from-above" : ""}${line < pieces.length - 1 ? " cv-goes-on" : ""}`;
            return el("span", { class: `cv-bracket${open}`, style: px({ top: top - at.top, left: left - at.left, width }) });
          }),
        );
      }
    }
    const observer = new ResizeObserver(place);
    observer.observe(line);

    return {
      /**
       * @param {What[]} shown
       * @param {Map<What, number>} held with their hues
       */
      paint(shown, held) {
        for (const { node, what } of brackets) {
          node.classList.toggle("cv-shown", shown.includes(what));
          node.setAttribute("aria-pressed", String(held.has(what)));
        }
      },
      stop: () => observer.disconnect(),
    };
  }

  Object.assign(CV, { offers });
})();
