// Words taken together as a phrase: drag over them, Shift and click, or Shift and the arrow keys.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  /**
   * Listens on the line of word chips; what is pointed at or clicked singly is the chips' own matter.
   * @param {HTMLElement} line the toolbar
   * @param {HTMLButtonElement[]} chips its buttons, one per word
   * @param {(word: number) => boolean} readable whether a phrase may begin or end there
   * @param {WordAct} act what to do with a word or phrase (`CV.runOf`)
   * @returns {WordRuns} for the chips' own events
   */
  function runs(line, chips, readable, act) {
    /** @type {number | null} */
    let anchor = null; // the word that Shift and click counts from
    /** @type {{from: number, to: number} | null} */
    let live = null; // {from, to}: being taken by keys
    /** @type {{id: number, from: number, to: number, taken: boolean} | null} */
    let drag = null; // {id, from, to, taken}: being taken by the pointer
    let swallow = false; // the click that follows a drag
    /** @type {number[]} */
    let quiet = []; // words of the phrase that was just held: the pointer that rests on them changes nothing

    /** @type {(what: What) => void} */
    const holdPhrase = (what) => {
      quiet = CV.membersOf(what);
      act.hold(what);
    };

    line.addEventListener("pointerdown", (event) => {
      const from = chips.indexOf(/** @type {HTMLButtonElement} */ (/** @type {Element} */ (event.target).closest(".cv-chip")));
      swallow = false;
      if (event.button === 0 && from >= 0 && readable(from)) drag = { id: event.pointerId, from, to: from, taken: false };
    });
    // Shift and click would select the text between, too.
    line.addEventListener("mousedown", (event) => {
      /** @type {HTMLButtonElement | null} */
      const chip = /** @type {Element} */ (event.target).closest(".cv-chip");
      if (!event.shiftKey || !chip) return;
      event.preventDefault();
      const from = anchor;
      chip.focus({ focusVisible: false });
      anchor = from;
    });
    line.addEventListener("pointermove", (event) => {
      if (!drag || drag.id !== event.pointerId) return;
      const under = /** @type {Document | ShadowRoot} */ (line.getRootNode()).elementFromPoint(event.clientX, event.clientY);
      const to = chips.indexOf(/** @type {HTMLButtonElement} */ (under?.closest(".cv-chip")));
      if (to < 0 || to === drag.to || !readable(to)) return;
      if (!drag.taken) line.setPointerCapture(drag.id);
      drag = { ...drag, to, taken: true };
      line.classList.add("cv-taking");
      act.show(CV.runOf(drag.from, to));
    });
    /** @type {(event: PointerEvent, done: boolean) => void} */
    function over(event, done) {
      if (!drag || drag.id !== event.pointerId) return;
      const { from, to, taken } = drag;
      drag = null;
      line.classList.remove("cv-taking");
      if (!taken) return;
      if (!done) return act.drop();
      anchor = from;
      swallow = true;
      holdPhrase(CV.runOf(from, to));
    }
    line.addEventListener("pointerup", (event) => over(event, true));
    line.addEventListener("pointercancel", (event) => over(event, false));
    line.addEventListener("pointerleave", () => (quiet = []));
    line.addEventListener(
      "click",
      (event) => {
        if (swallow && event.detail > 0) event.stopPropagation(); // a click by key has no detail
        swallow = false;
      },
      true,
    );

    return {
      /**
       * Whether the pointer's coming to a word is to be answered.
       * @param {number} word
       */
      enter(word) {
        if (drag?.taken || (drag && drag.from !== word) || quiet.includes(word)) return false;
        quiet = [];
        return true;
      },
      /**
       * What a click on a word takes.
       * @param {number} word
       * @param {MouseEvent} event
       */
      click(word, { shiftKey, detail }) {
        if (live && live.to === word && detail === 0) {
          const what = CV.runOf(live.from, live.to);
          live = null;
          return act.hold(what);
        }
        if (shiftKey && anchor !== null && anchor !== word) return holdPhrase(CV.runOf(anchor, word));
        anchor = word;
        act.hold(word);
      },
      /**
       * The word that Shift and an arrow key lead to from `here`; null where there is none.
       * @param {number} here
       * @param {number} step
       * @returns {number | null}
       */
      walk(here, step) {
        let to = here + step;
        while (to >= 0 && to < chips.length && !readable(to)) to += step;
        if (to < 0 || to >= chips.length || !readable(here)) return null;
        live = { from: live ? live.from : here, to };
        return to;
      },
      /**
       * What is shown when the focus comes to a word.
       * @param {number} word
       * @returns {What}
       */
      focus(word) {
        if (live && live.to === word) return CV.runOf(live.from, live.to);
        live = null;
        anchor = word;
        return word;
      },
      /** Nothing is being taken any more. */
      end() {
        live = null;
      },
    };
  }

  Object.assign(CV, { runs });
})();
