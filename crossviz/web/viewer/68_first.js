// What is shown before anyone has chosen.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  /**
   * The word that found most and looks most at one place.
   * @type {(payload: Payload, field: Field) => number | null}
   */
  function mostTelling(payload, field) {
    /** @type {number | null} */
    let best = null;
    let most = -Infinity;
    payload.caption.words.forEach((word, index) => {
      if (word.truncated || !/\p{L}\p{L}\p{L}|[^\u0000-\u024f]/u.test(word.text)) return;
      const peak = Math.max(...field.values(index));
      const found = field.nulls ? 1 - Number(field.nullMass(index)) : 1;
      const score = peak * found;
      if (score > most) [best, most] = [index, score];
    });
    return best;
  }

  /**
   * The word that was hidden or is again to be seen, or came last, where the page says so; else the one that tells most.
   * @type {(payload: Payload, field: Field, prefs: Pick<Prefs, "again">, how: How) => number | null}
   */
  function firstShown(payload, field, prefs, how) {
    const { again } = prefs;
    prefs.again = null;
    if (again && again.text === payload.caption.text) return again.word;
    if (payload.hidden) return payload.hidden.words[0];
    const last = payload.caption.words.findLastIndex((word) => !word.truncated);
    return how.newest && last >= 0 ? last : mostTelling(payload, field);
  }

  Object.assign(CV, { firstShown, mostTelling });
})();
