// The numbers beside the picture, in plain words first: what the shown words found, what a patch is looked at by.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, say, percent, amount, hint } = CV;

  const RANKED = 5; // words listed for a patch
  const NOTHING = 0.8; // from here on a word says that it found nothing; between half and this it is not sure

  const EVERY_WORD = "This map does not depend on the words: the method looks at the photo alone, and every word shows the same map.";

  const DEFINE = {
    found: "Every word may look at the patches of the picture or at one extra key that stands for “nothing in this picture” (the null key). Found is the share that went to the picture.",
    half: "The smallest region of the picture that holds this much of the attention on it.",
    line: " The thin line in the picture runs around it.",
    peak: "The most looked-at patch, in multiples of chance: 1 × is what each patch would get if the word looked everywhere alike.",
    share: "The sum of the word's shares over all patches: how much of the similarity between caption and photo comes from here.",
    top: "The patch with the largest share.",
  };

  /** @type {(term: string, about: string, ...value: Child[]) => HTMLElement} */
  const row = (term, about, ...value) =>
    el("div", { class: "cv-row" }, el("dt", {}, el("span", { text: term }), hint(term, about)), el("dd", {}, ...value));

  /**
   * "half" or "80 %".
   * @type {(share: number) => string}
   */
  const held = (share) => (share === 0.5 ? "half" : percent(share));

  /**
   * What one word found, as sentences and figures.
   * @type {(field: Field, nullMass: number | null, stats: Stats) => Sentences}
   */
  function sentences(field, nullMass, stats) {
    const absent = nullMass !== null && nullMass > CV.ABSENT;
    const found = nullMass === null ? null : percent(1 - nullMass);
    /** @type {string | null} */
    let headline = null;
    if (nullMass !== null && nullMass >= NOTHING) headline = `looked, and found nothing here (null ${percent(nullMass)})`;
    else if (absent) headline = `not sure that it is here (null ${percent(nullMass)})`;
    else if (found) headline = `found: ${found} of its attention is on the picture`;
    const half = stats.half.mass ? percent(stats.half.area) : null;
    const below = field.isProbability && stats.peak < 1;
    return { absent, nothing: nullMass !== null && nullMass >= NOTHING, found, headline, half, below, peak: amount(stats.peak, field) };
  }

  /**
   * One word's map for the live region. `where`: as `CV.places`, of the region in `stats`.
   * @type {(word: string, field: Field, nullMass: number | null, stats: Stats, where: string[]) => string}
   */
  function spoken(word, field, nullMass, stats, where) {
    const said = sentences(field, nullMass, stats);
    const parts = [`${word}:`];
    if (said.headline) parts.push(`${said.headline}.`);
    if (!said.nothing) parts.push(CV.mapSentence(word, field, nullMass, stats, where));
    if (said.below) parts.push("Below chance everywhere.");
    else parts.push(field.isProbability ? `Peak ${said.peak} chance.` : `Largest share ${said.peak}.`);
    return parts.join(" ");
  }

  function readout() {
    const name = el("bdi");
    const title = el("h2", { class: "cv-title" }, name);
    const headline = el("p", { class: "cv-headline" });
    const level = el("span");
    const track = el("div", { class: "cv-gauge", "aria-hidden": "true" }, level);
    const foundText = el("b", { class: "cv-figure" });
    const gauge = el(
      "div",
      { class: "cv-found" },
      track,
      foundText,
      hint("found", DEFINE.found),
    );
    const list = el("dl", { class: "cv-rows" });
    const which = el("p", { class: "cv-note cv-through" });
    const node = el("section", { class: "cv-readout", "aria-label": "What the word found" }, title, which, headline, gauge, list);

    /** @type {(similarity: string | null) => void} */
    function none(similarity) {
      name.textContent = "The plain photo";
      headline.textContent = "Point at a word to see where it looks. Click to hold it; several add up. Drag over words for a phrase.";
      gauge.hidden = true;
      list.replaceChildren(
        ...(similarity === null
          ? []
          : [el("div", { class: "cv-row" }, el("dt", { text: "similarity of photo and caption" }), el("dd", { text: similarity }))]),
      );
    }

    /**
     * @param {string} text
     * @param {Field} field
     * @param {number | null} nullMass
     * @param {Stats} stats
     * @param {{share?: number, line?: boolean}} [how] share of the mass that the region in `stats` holds; whether it is
     *   outlined
     */
    function one(text, field, nullMass, stats, { share = 0.5, line = true } = {}) {
      const said = sentences(field, nullMass, stats);
      say(name, text);
      say(headline, said.headline || (!field.reads ? "the same map as for every other word" : field.looked ? "what looks at it" : "where it looks"));
      gauge.hidden = said.found === null;
      if (nullMass !== null && said.found !== null) {
        track.classList.toggle("cv-absent", said.absent);
        level.style.inlineSize = `${100 * (1 - nullMass)}%`;
        say(foundText, said.found);
      }
      const shown = [
        !said.nothing && said.half && rowOf(`${held(share)} of it lies in`, DEFINE.half + (line ? DEFINE.line : ""), said.half, " of the picture"),
        field.isProbability
          ? rowOf("peak", DEFINE.peak, said.below ? "" : said.peak, said.below ? "below chance everywhere" : " chance")
          : rowOf("largest share", DEFINE.top, said.peak, " "),
        field.isProbability ? null : rowOf("all shares", DEFINE.share, amount(stats.total, field), " "),
      ].filter((node) => node instanceof Node);
      if (shown.length !== list.children.length || shown.some((node, i) => node !== list.children[i])) list.replaceChildren(...shown);
    }
    /** @type {Map<string, HTMLElement>} */
    const rows = new Map(); // by term and definition: from word to word only the figures change
    /** @type {(term: string, about: string, value: string, after: string) => HTMLElement} */
    function rowOf(term, about, value, after) {
      const key = term + about;
      const node = rows.get(key) ?? row(term, about);
      rows.set(key, node);
      const said = /** @type {HTMLElement} */ (node.lastElementChild);
      // New ones instead of new texts: as texts they would be said to have moved, since they end at the right.
      if (said.textContent !== value + after) {
        said.replaceChildren(el("b", { class: "cv-figure", text: value }), el("span", { text: after }));
      }
      return node;
    }

    /** @type {(items: {text: string, phrase: boolean, hue: number, nullMass: number | null, stats: Stats}[], field: Field) => void} */
    function many(items, field) {
      name.textContent = `${items.length} ${items.some(({ phrase }) => phrase) ? "words and phrases" : "words"}`;
      headline.textContent = "Each has its own colour; where they overlap the light adds up.";
      gauge.hidden = true;
      list.replaceChildren(
        ...items.map(({ text, hue, nullMass, stats }) => {
          const said = sentences(field, nullMass, stats);
          return el(
            "div",
            { class: "cv-row" },
            el("dt", {}, el("i", { class: "cv-swatch", "data-hue": hue + 1 }), el("bdi", { text })),
            el(
              "dd",
              {},
              el("span", { text: said.found ? `found ${said.found}, peak ` : "" }),
              el("b", { class: "cv-figure", text: said.peak }),
            ),
          );
        }),
      );
    }
    /**
     * Says which layers and heads the maps are of; without any there is no such line.
     * @type {(text: string) => void}
     */
    function of(text) {
      which.hidden = !text;
      say(which, text);
    }
    return { node, none, one, many, of };
  }

  /**
   * The ranked list of the words that look at one patch, or into the reader's box. Its rows are always there, so that
   * nothing jumps. `controls` stand below; `idle` is the title
   * and the text where nothing is pointed at.
   * @param {Node | null} controls
   * @param {[title: string, text: string]} [idle]
   */
  function patchList(controls, idle = ["At a patch", "Point at the photo, or move there with the arrow keys: the words that look at that patch."]) {
    const title = el("h2", { class: "cv-label" });
    const rows = Array.from({ length: RANKED }, () => {
      const bar = el("i", { class: "cv-rank-bar" });
      const name = el("bdi", { class: "cv-rank-name" });
      const value = el("b", { class: "cv-figure" });
      return { node: el("li", {}, bar, name, value), bar, name, value };
    });
    const note = el("p", { class: "cv-note" });
    const list = el("ol", { class: "cv-ranks" }, ...rows.map((r) => r.node));
    const node = el("section", { class: "cv-patch", "aria-label": "Words that look at a patch" }, title, el("div", { class: "cv-patch-list" }, list, note), controls);

    let resting = false; // whether it says so already
    function none() {
      if (resting) return;
      resting = true;
      [title.textContent, note.textContent] = idle;
      rows.forEach((r) => (r.node.hidden = true));
      note.hidden = false;
    }

    /**
     * @param {string} place
     * @param {{text: string, said: string, t: number}[]} ranked best first; only words that look there more than by
     *   chance
     * @param {string} [none] said of none
     */
    function show(place, ranked, none = "No word looks here more than by chance.") {
      resting = false;
      title.textContent = place;
      note.hidden = ranked.length > 0;
      note.textContent = none;
      rows.forEach((r, i) => {
        r.node.hidden = i >= ranked.length;
        if (i >= ranked.length) return;
        r.name.textContent = ranked[i].text;
        r.value.textContent = ranked[i].said;
        r.bar.style.inlineSize = `${100 * ranked[i].t}%`;
      });
    }
    return { node, none, show };
  }

  Object.assign(CV, { readout, patchList, spoken, NOTHING, RANKED, EVERY_WORD });
})();
