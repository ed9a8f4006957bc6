// What is said of a generated picture: what a checker found, what the model was told, and what a word wrote.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, say, percent, amount, hint } = CV;

  const ASKED = {
    strongest: "The place that gave this word the largest part of what it asked while it was drawn.",
    whole: "The mean over all places of the picture: how much of all that was asked went to this word.",
    found: "Every word may look at the places of the picture or at none of them. Found is the share that went to the picture.",
    peak: "The most looked-at place, in multiples of chance: 1 × is what each place would get if the word looked everywhere alike.",
  };

  /**
   * "seed 7 · guidance 3 · temperature 1"
   * @type {(settings: Generation["settings"]) => string}
   */
  const settingsLine = (settings) =>
    Object.entries(settings)
      .filter(([, value]) => typeof value === "number" || typeof value === "string")
      .map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`)
      .join(" · ");

  /**
   * "As asked", or what is not.
   * @type {(verdict: Generation["verdict"]) => string}
   */
  const shortVerdict = (verdict) => (verdict === null ? "not checked" : verdict.asked ? "as asked" : "not as asked");

  /** @type {(text: string) => string} */
  const sentence = (text) => (/[.!?]$/.test(text.trim()) ? text.trim() : `${text.trim()}.`);

  /** @type {(verdict: Generation["verdict"]) => HTMLElement} */
  function verdictLine(verdict) {
    if (verdict === null) return el("p", { class: "cv-verdict cv-note", text: "Nothing checks what this model draws." });
    const found = `The checker found: ${sentence(verdict.found.join(", "))}`;
    const faults = verdict.asked ? "As asked." : ["Not as asked.", ...verdict.faults.map(sentence)].join(" ");
    return el("p", { class: "cv-verdict" }, el("span", { text: `${found} ` }), el("b", { text: faults }));
  }

  /** @type {(term: string, about: string, value: string) => HTMLElement} */
  const row = (term, about, value) =>
    el("div", { class: "cv-row" }, el("dt", {}, el("span", { text: term }), hint(term, about)), el("dd", {}, el("b", { class: "cv-figure", text: value })));

  /** What the words that are shown wrote, or looked at. */
  function wrote() {
    const name = el("bdi");
    const told = el("p", { class: "cv-headline" });
    const which = el("p", { class: "cv-note cv-through" });
    const list = el("dl", { class: "cv-rows" });
    const node = el("section", { class: "cv-readout", "aria-label": "What the word wrote" }, el("h2", { class: "cv-title" }, name), which, told, list);
    /** @type {(about: string) => void} */
    function none(about) {
      say(name, "The picture");
      say(which, about);
      say(told, "Point at a word to see where it wrote. Click to hold it; several add up.");
      list.replaceChildren();
    }
    /** @type {(text: string, about: string, field: Field, nullMass: number | null, stats: Stats, sentence: string) => void} */
    function one(text, about, field, nullMass, stats, sentence) {
      say(name, text);
      say(which, about);
      say(told, sentence);
      const rows = field.looked
        ? [
            row("asked most, at one place", ASKED.strongest, percent(stats.peak / field.factor)),
            row("of all that was asked", ASKED.whole, percent(stats.total / field.size)),
          ]
        : [row("found", ASKED.found, percent(1 - (nullMass ?? 0))), row("peak", ASKED.peak, `${amount(stats.peak, field)} chance`)];
      list.replaceChildren(...rows);
    }
    /** @type {(items: {text: string, hue: number, field: Field, stats: Stats}[], about: string) => void} */
    function many(items, about) {
      say(name, `${items.length} words`);
      say(which, about);
      say(told, "Each has its own colour; where they overlap the light adds up.");
      list.replaceChildren(
        ...items.map(({ text, hue, field, stats }) =>
          el(
            "div",
            { class: "cv-row" },
            el("dt", {}, el("i", { class: "cv-swatch", "data-hue": hue + 1 }), el("bdi", { text })),
            el("dd", {}, el("b", { class: "cv-figure", text: field.looked ? percent(stats.peak / field.factor) : amount(stats.peak, field) })),
          ),
        ),
      );
    }
    return { node, none, one, many };
  }

  Object.assign(CV, { settingsLine, shortVerdict, verdictLine, wrote });
})();
