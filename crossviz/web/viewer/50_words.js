// The caption as a sentence of word chips: a toolbar with one tab stop. Hover or arrow keys show, click or Enter holds;
// several words taken together (50_runs.js) are one phrase.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, percent } = CV;

  const ABSENT = 0.5; // more than this on the null key: the word found nothing (as scale.ABSENT_NULL_MASS)

  const UNKNOWN = "The model does not know this word: it read [UNK] in its place.";

  /**
   * @param {Caption} caption
   * @param {WordAct} act `drop` shows again what was shown before
   * @param {number[]} hidden indices of the words that the model did not get to read
   * @param {[number, number][]} phrases first and last word of each phrase that is offered
   * @returns {{node: HTMLElement, paint: (state: WordsState) => void, stop: () => void}}
   */
  function words(caption, act, hidden = [], phrases = []) {
    /** @type {HTMLButtonElement[]} */
    const chips = [];
    const line = el("div", {
      class: "cv-words",
      role: "toolbar",
      "aria-label": "Words of the caption. Arrow keys show a word's map, with Shift that of several words as one phrase. Enter holds it, Escape clears.",
      dir: "auto",
    });
    if (caption.words.length > 24) line.classList.add("cv-words-many");
    const slice = CV.slicer(caption.text);
    let at = 0;
    /** @type {HTMLElement | null} */
    let unit = null; // a chip with the punctuation that touches it: never broken between two lines
    /** @type {HTMLElement[][]} */
    const gaps = [[]]; // what stands before each word, and after the last
    /** @type {(text: string, to: HTMLElement) => void} */
    const plain = (text, to) => {
      if (!text) return;
      const node = el("span", { class: "cv-plain", text });
      gaps[gaps.length - 1].push(node);
      to.append(node);
    };
    /** @type {(end?: number) => void} */
    const between = (end) => {
      const [, closing, space, opening] = /** @type {RegExpExecArray} */ (/^(\S*)(\s*)([^]*)$/.exec(slice(at, end)));
      plain(closing, unit || line);
      plain(space, line);
      const parts = /** @type {RegExpExecArray} */ (/^([^]*\s)?(\S*)$/.exec(opening));
      plain(parts[1], line);
      unit = el("span", { class: "cv-unit" });
      plain(parts[2], unit);
      line.append(unit);
    };
    caption.words.forEach((word, index) => {
      between(word.start);
      at = word.end;
      const chip = el(
        "button",
        {
          type: "button",
          class: word.truncated ? "cv-chip cv-cut" : "cv-chip",
          tabindex: "-1",
          "data-word": index,
          "aria-disabled": word.truncated ? "true" : null,
          "aria-pressed": word.truncated ? null : "false",
          title: word.truncated ? "Cut off: the model does not read this far." : null,
        },
        el("span", { class: "cv-level", "aria-hidden": "true" }),
        el("span", { class: "cv-chip-text", text: slice(word.start, word.end) }),
      );
      if (hidden.includes(index)) {
        chip.classList.add("cv-hidden");
        chip.setAttribute("aria-label", `${word.text}, hidden from the model`);
      }
      if (word.unknown) chip.setAttribute("aria-description", UNKNOWN);
      if (!word.truncated) {
        // Touch has no hover: a tap holds.
        chip.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && taking.enter(index) && act.show(index));
        chip.addEventListener("click", (event) => taking.click(index, event));
      }
      chip.addEventListener("focus", () => {
        chips.forEach((other) => other.setAttribute("tabindex", other === chip ? "0" : "-1"));
        if (chip.matches(":focus-visible") && !word.truncated) act.show(taking.focus(index));
      });
      chips.push(chip);
      /** @type {HTMLElement} */ (unit).append(chip);
      gaps.push([]);
    });
    between();
    if (chips.length) chips[0].setAttribute("tabindex", "0");

    const offered = CV.offers(line, chips, phrases, caption, act);
    const taking = CV.runs(line, chips, (index) => !caption.words[index].truncated, act);
    line.addEventListener("focusout", (event) => line.contains(event.relatedTarget) || taking.end());
    line.addEventListener("keydown", (event) => {
      const here = chips.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
      if (here < 0) return;
      const rtl = getComputedStyle(line).direction === "rtl";
      const step = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
      /** @type {number | null} */
      let next = null;
      if (step && event.shiftKey) next = taking.walk(here, step);
      else if (step) next = (here + step + chips.length) % chips.length;
      else if (event.key === "Home") next = 0;
      else if (event.key === "End") next = chips.length - 1;
      else if (event.key === "Escape") {
        taking.end();
        act.clear();
      }
      else return;
      event.preventDefault();
      if (step && !event.shiftKey) taking.end();
      if (next !== null) chips[next].focus({ focusVisible: true });
    });

    /** @type {(chip: HTMLElement, name: string, value: string) => unknown} */
    const style = (chip, name, value) => chip.style.getPropertyValue(name) === value || chip.style.setProperty(name, value);

    /**
     * @type {(state: WordsState) => void}
     */
    function paint({ nulls, shown, held, looks }) {
      line.classList.toggle("cv-looking", Boolean(looks));
      const shownWords = new Set(shown.flatMap(CV.membersOf));
      const hues = new Map([...held].flatMap(([what, hue]) => CV.membersOf(what).map((word) => [word, hue])));
      caption.words.forEach((word, index) => {
        if (word.truncated) return;
        const chip = chips[index];
        const nullMass = nulls ? nulls[index] : null;
        chip.classList.toggle("cv-absent", nullMass !== null && nullMass > ABSENT);
        chip.classList.toggle("cv-no-level", nullMass === null);
        chip.classList.toggle("cv-shown", shownWords.has(index));
        chip.setAttribute("aria-pressed", String(hues.has(index)));
        style(chip, "--cv-found", nullMass === null ? "0%" : `${100 * (1 - nullMass)}%`);
        if (held.size > 1 && hues.has(index)) chip.dataset.hue = String(Number(hues.get(index)) + 1);
        else delete chip.dataset.hue;
        style(chip, "--cv-look", looks ? String(looks[index]) : "0");
        let title = nullMass === null ? "" : `found ${percent(1 - nullMass)}, null ${percent(nullMass)}`;
        if (hidden.includes(index)) title = "Hidden from the model";
        else if (word.unknown) title = UNKNOWN;
        if (chip.title !== title) chip.title = title;
      });
      offered.paint(shown, held);
      gaps.flat().forEach((node) => {
        node.classList.remove("cv-joined", "cv-joined-held");
        delete node.dataset.hue;
      });
      for (const what of [...held.keys(), ...shown]) {
        for (const index of CV.membersOf(what).slice(1)) {
          for (const node of gaps[index]) {
            node.classList.add("cv-joined");
            node.classList.toggle("cv-joined-held", held.has(what));
            if (held.size > 1 && held.has(what)) node.dataset.hue = String(Number(held.get(what)) + 1);
          }
        }
      }
    }
    return { node: line, paint, stop: offered.stop };
  }

  Object.assign(CV, { words, ABSENT });
})();
