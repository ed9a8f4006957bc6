// The checks beside the map: which word they are of, what is asked, what is shown, and what lies over the photo.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});

  const OF_ALL = "The checks are of the map over all layers and heads, not of the one that is chosen.";

  const HIDDEN = "Maps are checked with every word in its place: show the hidden word again to check one.";

  /**
   * The span that is shown: of one word or phrase, or of words that stand side by side and so are one; else null.
   * @param {Word[]} words
   * @param {{word: What}[]} active words or phrases (CV.runOf)
   * @returns {Span | null}
   */
  function shownSpan(words, active) {
    const shown = active.flatMap(({ word }) => CV.membersOf(word)).sort((a, b) => a - b);
    const [first, last] = [shown[0], shown[shown.length - 1]];
    if (!shown.length || last - first !== shown.length - 1) return null;
    return { start: words[first].start, end: words[last].end };
  }

  /**
   * @param {Payload} payload
   * @param {Field} field
   * @param {Stage} stage
   * @param {Options} options `onTrust` where a server can check
   * @param {Prefs} prefs
   * @param {Live} live
   * @returns {TrustPart} node null where there is nothing to show: no server, and no checks that came with the
   *   explanation
   */
  function trust(payload, field, stage, options, prefs, live) {
    const stored = Object.keys(payload.trust || {}).length > 0;
    if (payload.hidden && options.onTrust) {
      const node = CV.el("section", { class: "cv-trust" }, CV.el("h2", { class: "cv-title", text: CV.TRUST }), CV.el("p", { class: "cv-note", text: HIDDEN }));
      return { node, paint() {}, receive() {}, pause() {}, end() {} };
    }
    if (!options.onTrust && !stored) return { node: null, paint() {}, receive() {}, pause() {}, end() {} };
    const slice = CV.slicer(payload.caption.text);
    const checks = CV.asking(payload, options, refresh);
    const shade = CV.chanceShade(payload, field, stage);
    const drawn = Boolean(options.onBox); // else the box that came with the checks is shown, and none can be drawn
    const box = CV.boxOn(payload, stage, drawn ? checks.setBox : null);
    const panel = CV.trustPanel(prefs, { check: checks.check, stop: () => checks.stop(true), dim: refresh }, box.node);
    /** @type {{active: {word: What}[], state: Partial<Through>, span: Span | null}} */
    let last = { active: [], state: {}, span: null };
    /** @type {string | null | undefined} */
    let announced = null;
    if (drawn && prefs.box && prefs.box.photo === payload.photo.src) {
      box.put(prefs.box.pixels); // the next caption of the same photo: the thing is where it was
      checks.setBox(prefs.box.pixels);
    }

    /** @type {(active: {word: What}[], state: Through, willing: boolean) => void} */
    function paint(active, state, willing) {
      const span = shownSpan(payload.caption.words, active);
      last = { active, state, span };
      checks.look(span, willing);
      refresh();
    }

    function refresh() {
      const known = checks.state();
      const { sentence, told } = say(known);
      panel.paint({ ...known, sentence, beside: known.report && !whole() ? OF_ALL : "" });
      const calibration = known.report && known.report.calibration;
      shade.paint(prefs.dim && whole() && calibration ? calibration : null);
      const pixels = box.box();
      if (drawn) prefs.box = pixels && { photo: payload.photo.src, pixels };
      else box.put(known.localisation && known.localisation.box);
      if (told && told !== announced) live(told);
      announced = told;
    }

    /**
     * The sentence on top, and what of it is worth reading out.
     * @type {(known: Pick<Known, "report" | "running" | "failed">) => {sentence: string, told?: string}}
     */
    function say({ report, running, failed }) {
      const { active, span } = last;
      if (!active.length) return { sentence: "Rest on a word, or click it: its map is put to the test." };
      if (!span) return { sentence: "Hold one word, or words that stand side by side, to check a map." };
      const word = `\u201c${slice(span.start, span.end)}\u201d`;
      if (failed) return { sentence: failed, told: failed };
      if (running) return { sentence: `Checking the map of ${word}.` };
      if (report) return { sentence: report.sentence, told: report.sentence };
      if (options.onTrust) return { sentence: `The map of ${word} has not been checked yet: rest on the word, or click it.` };
      const known = checks.known().map((key) => `\u201c${slice(.../** @type {[number, number]} */ (key.split(":").map(Number)))}\u201d`);
      return { sentence: `The map of ${word} was not checked. Checked were: ${known.join(", ")}.` };
    }

    /** Whether the map of all layers and heads is shown. */
    const whole = () => (last.state.layer ?? last.state.head ?? null) === null;

    return { node: panel.node, paint, receive: checks.receive, pause: () => checks.stop(), end: checks.end };
  }

  Object.assign(CV, { trust, shownSpan });
})();
