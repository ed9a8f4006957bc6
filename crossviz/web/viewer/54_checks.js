// The six checks of a map: what each says in a few words, and what it shows when it is opened.
// A report is crossviz.trust's `TrustReport.as_dict()`; a check that was not made is null.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, percent, figure } = CV;

  const HEADS = 6; // heads listed
  /** @type {[kind: string, text: string][]} */
  const LINES = [["map", "this map"], ["random", "random patches"], ["band", "their range"], ["centre", "centre first"]];

  /** @type {(text: string) => string} */
  const minus = (text) => text.replace("-", "\u2212");
  /**
   * A correlation: two digits after the point, with a real minus.
   * @type {(value: number) => string}
   */
  const two = (value) => minus(value.toFixed(2).replace(/^-0\.00$/, "0.00"));
  /** @type {(value: number) => string} */
  const small = (value) => minus(figure(value));
  /**
   * Areas and figures that are compared with each other: two digits after the point, or more where all are tiny.
   * @type {(value: number) => string}
   */
  const precise = (value) => (Math.abs(value) >= 0.1 ? two(value) : small(value));
  /** @type {(value: number) => string} */
  const signed = (value) => (value > 0 ? "+" : "") + small(value);
  /**
   * Probabilities below what N draws can tell are not zero.
   * @type {(p: number) => string}
   */
  const chanceOf = (p) => (p < 0.001 ? "p < 0.001" : `p = ${Number(p.toPrecision(2))}`);

  /** @type {(...pairs: [term: string, value: string, after?: string][]) => HTMLElement} */
  const rows = (...pairs) =>
    el(
      "dl",
      { class: "cv-rows" },
      ...pairs.map(([term, value, after]) =>
        el(
          "div",
          { class: "cv-row" },
          el("dt", { text: term }),
          el("dd", {}, el("b", { class: "cv-figure", text: value }), after ? el("span", { text: ` ${after}` }) : null),
        ),
      ),
    );
  /** @type {(text: string) => HTMLElement} */
  const say = (text) => el("p", { class: "cv-note", text });

  /**
   * A table that may be wider than its place. `head` texts, `body` rows of texts or nodes.
   * @type {(label: string, head: string[], body: (string | Node)[][]) => HTMLElement}
   */
  function table(label, head, body) {
    /** @type {(tag: "td" | "th", content: string | Node, attrs?: Attributes) => HTMLElement} */
    const cell = (tag, content, attrs = {}) => (typeof content === "string" ? el(tag, { ...attrs, text: content }) : el(tag, attrs, content));
    return el(
      "div",
      { class: "cv-table", tabindex: "0", role: "region", "aria-label": label },
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, ...head.map((text) => cell("th", text, { scope: "col" })))),
        el("tbody", {}, ...body.map(([first, ...rest]) => el("tr", {}, cell("th", first, { scope: "row" }), ...rest.map((content) => cell("td", content))))),
      ),
    );
  }

  /** @type {(part: Calibration, choice: DimChoice) => Node[]} */
  function calibration({ captions, share_beyond: beyond, expected, p_peak: peak }, { dim, setDim }) {
    const [level, tick] = [el("span"), el("i")];
    const bar = el("div", { class: "cv-beyond", "aria-hidden": "true" }, level, tick);
    level.style.inlineSize = `${100 * beyond}%`;
    tick.style.insetInlineStart = `${100 * expected}%`;
    const box = el("input", { type: "checkbox", class: "cv-check", on: { change: () => setDim(box.checked) } });
    box.checked = dim;
    return [
      bar,
      rows(
        ["patches beyond chance", percent(beyond), "of the grid"],
        ["by chance alone", percent(expected), "(the tick on the bar)"],
        ["its highest patch against theirs", chanceOf(peak)],
        ["compared with", String(captions), "random words in its place"],
      ),
      el("label", { class: "cv-switch" }, box, el("span", { text: "Darken the patches that are not beyond chance" })),
    ];
  }

  /**
   * One of the two curves.
   * @type {(title: string, key: "deletion" | "insertion", part: Deletion, unit: string, end: string) => HTMLElement}
   */
  function curve(title, key, part, unit, end) {
    const levels = part.levels;
    const lines = part[key];
    /** @type {(values: number[]) => Point[]} */
    const points = (values) => levels.map((level, i) => [level, values[i]]);
    const both = [part.deletion, part.insertion].flatMap((of) => [of.map, of.random_low, of.random_high, of.centre]).flat();
    const area = part.area[key];
    return el(
      "figure",
      { class: "cv-curve" },
      el("figcaption", { class: "cv-label", text: title }),
      CV.chart({
        lines: [
          { kind: "centre", points: points(lines.centre) },
          { kind: "random", points: points(lines.random) },
          { kind: "map", points: points(lines.map) },
        ],
        band: levels.map((level, i) => [level, lines.random_low[i], lines.random_high[i]]),
        range: CV.chartSpan(both),
        ends: ["none", end],
        value: small,
        said: `${title}. ${unit}, area under the curve: this map ${small(area.map)}, random patches ${small(area.random)}, centre first ${small(area.centre)}.`,
      }),
    );
  }

  /** @type {(part: Deletion) => Node[]} */
  function deletion(part) {
    /** @type {(areas: Areas) => string[]} */
    const area = ({ map, random, centre }) => [map, random, centre].map(precise);
    return [
      say(`How the match (${part.unit}) moves as patches are taken away or put back, those that this map ranks highest first. What is taken away is filled by: ${part.fill}.`),
      el(
        "div",
        { class: "cv-curves" },
        curve("taken away (low is good)", "deletion", part, part.unit, "all gone"),
        curve("put back (high is good)", "insertion", part, part.unit, "all back"),
      ),
      CV.legend(LINES),
      table(
        "Areas under the curves",
        ["area", "this map", "random", "centre"],
        [["taken away", ...area(part.area.deletion)], ["put back", ...area(part.area.insertion)]],
      ),
    ];
  }

  /**
   * How far the match falls when the highest tenth is taken away: beside random patches where they can be compared.
   * @type {(part: Deletion) => string}
   */
  function fall({ ratio, levels, deletion: { map } }) {
    if (ratio !== null) return `${figure(ratio)} × random`;
    const tenth = levels.reduce((best, level, i) => (Math.abs(level - 0.1) < Math.abs(levels[best] - 0.1) ? i : best), 0);
    return `${small(map[0])} \u2192 ${small(map[tenth])}`;
  }

  /** @type {(part: Randomisation) => Node[]} */
  function randomisation({ stages }) {
    const last = stages.length - 1;
    /** @type {Point[]} */
    const points = stages.map(({ correlation }, i) => [last ? i / last : 0, correlation]);
    const low = Math.min(-0.2, ...stages.map(({ correlation }) => correlation));
    return [
      say("How alike the map stays when the model's weights are shuffled, from the answer downwards. A map that does not mind was not made by what the model learnt."),
      CV.chart({
        lines: [{ kind: "map", points, dots: true }],
        band: null,
        range: [low, 1],
        zero: true,
        ends: ["as learnt", "all shuffled"],
        value: two,
        said: `Correlation with the real map: ${stages.map(({ label, correlation }) => `${label} ${two(correlation)}`).join(", ")}.`,
      }),
      table(
        "Correlation with the real map after each step",
        ["shuffled down to", "weights", "correlation"],
        stages.map(({ label, share, correlation }) => [label, percent(share), two(correlation)]),
      ),
    ];
  }

  /** @type {(part: Agreement) => Node[]} */
  function agreement({ titles, correlations, agreeing, of }) {
    /** @type {(value: number) => HTMLElement} */
    const shade = (value) => {
      const cell = el("span", { class: "cv-shade", text: two(value) });
      cell.style.setProperty("--cv-share", `${Math.round(60 * Math.max(0, value))}%`);
      return cell;
    };
    return [
      say(`${agreeing} of ${of} other methods rank the patches like this one, more than random words in its place would make them.`),
      table(
        "Rank correlation between the methods' maps",
        ["rank correlation", ...titles.map((_, i) => String(i + 1))],
        correlations.map((line, i) => [`${i + 1} ${titles[i]}`, ...line.map((value, j) => (i === j ? "" : shade(value)))]),
      ),
    ];
  }

  /** @type {(part: HeadEffect) => Node[]} */
  function heads({ unit, heads: list, all_off: off }) {
    return [
      say(`Each head switched off alone, those that change the match (${unit}) most first: how the match and the map change, and how much of the head's attention goes to patches.`),
      table(
        "Heads by the change of the match",
        ["layer, head", "match", "map", "mass"],
        list.slice(0, HEADS).map(({ layer, head, effect, map_change: change, mass }) => [
          `${layer}, ${head + 1}`,
          signed(effect),
          change === null || change === undefined ? "–" : two(change),
          mass === null || mass === undefined ? "–" : percent(mass),
        ]),
      ),
      rows(["match with every head off", off === null || off === undefined ? "–" : small(off), unit]),
    ];
  }

  /** @type {(part: Localisation) => Node[]} */
  function localisation(part) {
    const { mass, pointing, iou, cut_off: cut, area } = part;
    return [
      rows(
        ["of the map lies in the box", percent(mass), `(by chance ${percent(area)})`],
        ["its highest place", pointing ? "in the box" : "outside the box"],
        ["best overlap (IoU)", two(iou), `cut at ${percent(cut)} of its maximum`],
      ),
    ];
  }

  /**
   * What belongs beside the figures.
   * @type {(part: TrustReport) => Node[]}
   */
  function howDone({ notes, seconds, seed, method }) {
    return [
      el("ul", { class: "cv-done" }, ...notes.map((text) => el("li", { text }))),
      rows(["time", `${figure(seconds)}\u202fs`], ["seed of the random choices", String(seed)], ["the map's method", method]),
    ];
  }

  /** @type {AnyCheck[]} in the order of the list; "done" is of the whole report */
  const CHECKS = [
    {
      key: "calibration",
      name: "Beyond chance",
      about:
        "The same method is asked about your caption on this photo, with random words in its place. A patch is beyond chance where this word's value is higher than for 95 % of them. Of a word that means nothing, about 5 % of the patches would be, by luck.",
      brief: (part) => `${percent(part.share_beyond)} of patches`,
      show: calibration,
    },
    {
      key: "deletion",
      name: "Taking it away",
      about:
        "If the map shows what the model used, taking its highest patches away must lower the match faster than taking random ones, and putting them back must raise it faster. The centre is there because many photos have their thing in the middle.",
      brief: fall,
      show: deletion,
    },
    {
      key: "randomisation",
      name: "Shuffled weights",
      about:
        "The model's weights are shuffled step by step, from the answer down to the pixels, and the map is made again. Its rank correlation with the real map should fall from 1 to about 0.",
      brief: (part) => `${two(part.stages[part.stages.length - 1].correlation)} alike`,
      show: randomisation,
    },
    {
      key: "agreement",
      name: "Other methods",
      about:
        "Maps of the same word by the other methods that this model supports, compared by rank correlation. Methods that agree may still be wrong together; methods that don't can't all be right.",
      brief: (part) => `${part.agreeing} of ${part.of} agree`,
      show: agreement,
    },
    {
      key: "head_effect",
      name: "Heads that matter",
      about:
        "Each attention head is switched off alone. What counts is how much the match changes, not how much attention the head has: a head with much mass may do nothing.",
      brief: (part) => (part.heads.length ? `head ${part.heads[0].head + 1}, ${part.heads[0].layer}` : "no heads"),
      show: heads,
    },
    {
      key: "localisation",
      name: "Inside your box",
      about:
        "You say where the thing is. Mass: the share of the map inside the box, beside the box's share of the photo, which a map without any idea would reach. IoU: how well the map, cut at its best value, covers the box and nothing else, 0 to 1.",
      brief: (part) => `${percent(part.mass)} inside`,
      show: localisation,
    },
    {
      key: "done",
      name: "How it was done",
      about: "What was left out and why, what the figures stand on, and what repeats them: the same seed gives the same figures.",
      brief: (part) => `${figure(part.seconds)}\u202fs`,
      show: howDone,
    },
  ];

  Object.assign(CV, { CHECKS });
})();
