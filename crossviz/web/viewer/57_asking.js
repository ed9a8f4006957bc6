// When a map is checked: once its word has been shown for a moment; and never any longer than it is shown.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const REST = 800; // ms that a word is shown before its check begins
  const GRACE = 300; // ms that another word may be passed over without ending a check
  const PATIENCE = 60_000; // ms without a sign from the server
  const SETTLE = 250; // ms after the last change of the box
  /** @type {Exclude<CheckKey, "localisation" | "done">[]} */
  const MADE = ["calibration", "deletion", "randomisation", "agreement", "head_effect"]; // not only a box was looked at
  const SILENT = "The server has not answered: try again.";

  let runs = 0; // of this page: numbers that never come twice, over all explanations

  /** @type {(span: Span) => string} */
  const keyOf = ({ start, end }) => `${start}:${end}`;

  /**
   * The checks of one explanation: those that came with it, and those that are asked for.
   * @param {Payload} payload
   * @param {Options} options `onBox` with box null where it was taken away; none of them where no server is behind the
   *   page
   * @param {() => void} changed called when something is to be painted
   */
  function asking(payload, options, changed) {
    let reports = new Map(Object.entries(payload.trust || {}));
    /** @type {Set<string>} */
    const held = new Set(); // keys whose map was held against the box that is drawn
    /** @type {Map<string, string>} */
    const failed = new Map(); // key -> sentence
    /** @type {Set<string>} */
    const stopped = new Set(); // keys that the reader stopped: they don't begin again by themselves
    /** @type {Span | null} */
    let target = null; // {start, end}: what is shown
    /** @type {{run: number, key: string, done: number, label: string} | null} */
    let asked = null; // {run, key, done, label}: what is being checked
    /** @type {{run: number, key: string} | null} */
    let located = null; // {run, key}: the box that was asked about last
    /** @type {Box | null} */
    let box = null;
    /** @type {[key: string, sentence: string] | null} */
    let boxError = null; // [key, sentence]
    /** @type {(key: string) => TrustReport | null} */
    const checked = (key) => {
      const report = reports.get(key);
      return report && MADE.some((check) => report[check]) ? report : null;
    };
    /** @type {Record<string, ReturnType<typeof setTimeout> | null>} */
    const timers = {};
    /** @type {(name: string, ms: number, call: () => void) => void} */
    const after = (name, ms, call) => {
      clearTimeout(timers[name]);
      timers[name] = setTimeout(call, ms);
    };

    /**
     * @param {Span | null} next
     * @param {boolean} willing whether the reader chose it, so that its check may begin by itself
     */
    function look(next, willing) {
      const key = next && keyOf(next);
      if (target && key === keyOf(target)) {
        if (willing && !timers.rest && wanted()) rest();
        return;
      }
      target = next;
      clearTimeout(timers.rest);
      timers.rest = null;
      clearTimeout(timers.grace);
      if (asked && asked.key !== key) after("grace", GRACE, stop);
      if (willing && wanted()) rest();
      if (target) locate();
    }
    function wanted() {
      if (!options.onTrust || !target) return false;
      const key = keyOf(target);
      return !checked(key) && !failed.has(key) && !stopped.has(key) && !(asked && asked.key === key);
    }
    function rest() {
      after("rest", REST, () => {
        timers.rest = null;
        if (wanted()) check();
      });
    }

    function check() {
      if (!options.onTrust || !target) return;
      stop();
      const key = keyOf(target);
      failed.delete(key);
      stopped.delete(key);
      asked = { run: ++runs, key, done: 0, label: "waiting for the server" };
      patience();
      options.onTrust({ run: asked.run, id: payload.id, ...target });
      changed();
    }
    function patience() {
      after("patience", PATIENCE, () => asked && receive({ run: asked.run, error: SILENT }));
    }
    /**
     * Ends what is being checked; `byHand` keeps it from beginning again by itself.
     * @param {boolean} [byHand]
     */
    function stop(byHand = false) {
      clearTimeout(timers.grace);
      clearTimeout(timers.patience);
      if (!asked) return;
      const { run, key } = asked;
      asked = null;
      if (byHand) stopped.add(key);
      options.onTrustStop?.({ run });
      changed();
    }

    /** Asks how much of the map lies in the box, a moment after the box or the word has changed. */
    function locate() {
      if (!target || !box || !options.onBox || held.has(keyOf(target))) return;
      after("box", SETTLE, () => target && box && askBox(target));
    }
    /** @type {(words: Span) => void} */
    function askBox(words) {
      located = { run: ++runs, key: keyOf(words) };
      options.onBox?.({ run: located.run, id: payload.id, ...words, box });
    }
    /** @type {(next: Box | null) => void} */
    function setBox(next) {
      box = next;
      boxError = null;
      held.clear();
      clearTimeout(timers.box);
      if (!box) askBox({ start: 0, end: 0 });
      else if (target) locate();
      changed();
    }

    /**
     * What the server says: {run, done, label}, {run, report} or {run, error}; of a box {run, reports}, all there are.
     * @type {(message: TrustMessage) => void}
     */
    function receive(message) {
      if (located && message.run === located.run) {
        boxError = message.error ? [located.key, message.error] : null;
        if (message.reports) reports = new Map(Object.entries(message.reports));
        held.add(located.key);
        located = null;
        return changed();
      }
      if (!asked || message.run !== asked.run) return; // of a word that is no longer shown
      const { key } = asked;
      if (message.report || message.error) {
        clearTimeout(timers.patience);
        asked = null;
        if (message.report) reports.set(key, message.report);
        if (message.report && message.report.localisation) held.add(key);
        if (message.error) failed.set(key, message.error);
      } else {
        patience();
        Object.assign(asked, { done: message.done, label: message.label });
      }
      changed();
    }

    /**
     * What there is to show of the target.
     * @returns {Known}
     */
    function state() {
      const key = target ? keyOf(target) : "";
      const { localisation = null } = reports.get(key) || {};
      return {
        report: checked(key),
        localisation: options.onBox && !(box && held.has(key)) ? null : localisation,
        boxError: boxError && boxError[0] === key ? boxError[1] : null,
        failed: failed.get(key) || null,
        running: asked && asked.key === key ? asked : null,
        can: Boolean(options.onTrust && target),
      };
    }
    return {
      look,
      check,
      stop,
      setBox,
      receive,
      state,
      known: () => [...reports.keys()].filter(checked),
      end() {
        stop();
        Object.values(timers).forEach((timer) => clearTimeout(timer));
      },
    };
  }

  Object.assign(CV, { asking });
})();
