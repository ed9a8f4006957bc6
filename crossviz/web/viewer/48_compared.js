// The parts of a comparison: the scale that two maps share, the panel of their difference, the table of what moved.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el, percent, amount, figure, uid } = CV;

  const NARROW = "\u202f";

  const FLOOR = 8; // × chance, as scale.FLOOR: below it a pair of weak maps would glow

  /**
   * The scales of both sides, one and the same where their units are: of probabilities, up to the higher peak of the two
   * maps that are shown; of other units, up to where the captions' own scales end.
   * @param {Field[]} fields
   * @param {(What | null)[]} words what each side shows, or null
   * @param {Through & {own: boolean, smooth: boolean}} state
   */
  function jointScale(fields, words, state) {
    const scales = fields.map((field, i) => {
      const values = words[i] === null ? [] : field.values(words[i], state.layer, state.head);
      return field.scaleFor(values, { ...state, own: state.own && words[i] !== null });
    });
    if (fields[0].unit !== fields[1].unit || fields[0].signed !== fields[1].signed) return scales;
    if (fields[0].isProbability) {
      const peaks = fields.map((field, i) => (words[i] === null ? 0 : field.stats(words[i], state.layer, state.head, state.smooth).peak));
      return scales.map((scale) => ({ ...scale, vmax: Math.max(FLOOR, ...peaks) }));
    }
    const shown = state.own ? scales.filter((_, i) => words[i] !== null) : scales;
    const vmax = Math.max(...(shown.length ? shown : scales).map((scale) => scale.vmax));
    return scales.map((scale) => ({ ...scale, vmax, vmin: scale.signed ? -vmax : scale.vmin }));
  }

  /**
   * "+2.8 ×", with a true minus sign.
   * @type {(value: number, field: Field) => string}
   */
  function signed(value, field) {
    const sign = value > 0 ? "+" : value < 0 ? "\u2212" : "";
    return sign + figure(Math.abs(value)).replace("-", "\u2212") + (field.isProbability ? `${NARROW}×` : "");
  }

  /**
   * What one side's word found, in a few words.
   * @type {(field: Field, what: What | null, state: Through & {smooth: boolean}) => string}
   */
  function sideSaid(field, what, { layer, head, smooth }) {
    if (what === null) return "no word stands in its place";
    const { peak } = field.stats(what, layer, head, smooth);
    const nullMass = field.nullMass(what, layer, head);
    return `${nullMass === null ? "" : `found ${percent(1 - nullMass)}, `}${field.isProbability ? "peak" : "largest"} ${amount(peak, field)}`;
  }

  /**
   * What both sides' words have at the cursor.
   * @type {(at: [number, number] | null, values: (number | null)[], fields: Field[], subtracts: boolean) => string}
   */
  function placeSaid(at, values, fields, subtracts) {
    if (!at) return "Point at a place in either picture to compare its numbers.";
    const sides = values.map((value, i) => `${"AB"[i]} ${value === null ? "nothing" : amount(value, fields[i])}`);
    const both = subtracts && values.every((value) => value !== null);
    return `Here: ${sides.join(", ")}${both ? `; A minus B ${signed(values[0] - values[1], fields[0])}` : ""}.`;
  }

  /** @type {(payload: Payload, field: Field, what: What, state: Through) => Side} */
  const side = (payload, field, what, { layer, head }) => ({ payload, field, values: field.values(what, layer, head), nullMass: field.nullMass(what, layer, head) });

  /**
   * The difference of two maps on their photo.
   * @param {Payload[]} payloads
   * @param {Field[]} fields
   * @param {PatchAct} act what the pointer does on it, as for CV.stage
   * @returns {DifferencePanel}
   */
  function differencePanel(payloads, fields, act) {
    /** @type {{vmax: number} | null} */
    let drawn = null; // where the scale of what is drawn ends
    /** @type {(What | null)[]} */
    let words = [null, null];
    /** @type {MapState | null} */
    let state = null;
    /** @type {(i: number) => Side} */
    const sideOf = (i) => side(payloads[i], fields[i], /** @type {What} */ (words[i]), /** @type {MapState} */ (state));
    const stage = CV.stage(payloads[0], fields[0], act, {
      heat(now, _, size) {
        const values = CV.subtract(sideOf(0), sideOf(1), { ...size, smooth: now.smooth });
        let vmax = Math.max(...CV.jointScale(fields, words, { ...now, own: false }).map((scale) => scale.vmax));
        if (now.own) vmax = values.reduce((top, value) => (Math.abs(value) > top ? Math.abs(value) : top), 0) || vmax;
        drawn = { vmax };
        return CV.heatDifference(values, { ...size, opacity: now.opacity, cmap: now.cmap, vmax });
      },
      ink(ctx, colours, { width, height }) {
        if (String(payloads[0].view.crop_xyxy) !== String(payloads[1].view.crop_xyxy)) CV.hatchUnseen(ctx, payloads[1], width, height, colours);
        if (payloads[0].model.trained && !payloads[1].model.trained) CV.strokeUntrained(ctx, width, height, colours);
      },
    });
    const text = el("p", { class: "cv-comparing-said" });
    const bar = CV.colourBar();
    const node = el(
      "section",
      { class: "cv-comparing-side cv-comparing-difference", "aria-label": "A minus B" },
      el("h3", { class: "cv-label", text: "A minus B" }),
      el("p", { class: "cv-note", text: "Red: A looks there more. Blue: B does." }),
      el("div"), // beside the words of the other two
      stage.node,
      text,
      bar.node,
    );
    /** @type {() => ShownWord[]} */
    const shownWords = () => (words[0] === null || words[1] === null ? [] : [{ word: words[0], hue: 0 }]);
    /** @type {(now: (What | null)[], settings: Omit<MapState, "saw">, patch: Patch | null) => void} */
    function paint(now, settings, patch) {
      words = now;
      state = { ...settings, contour: 0, saw: false, cmap: CV.DIVERGING.includes(settings.cmap) ? settings.cmap : CV.DIVERGING[0] };
      drawn = null;
      stage.paint(state, shownWords(), patch, true);
      const end = /** @type {{vmax: number} | null} */ (drawn); // set while painting
      const vmax = end ? end.vmax : Math.max(...CV.jointScale(fields, words, { ...state, own: false }).map((scale) => scale.vmax));
      bar.paint(barField(fields[0]), { vmin: -vmax, vmax, signed: true }, state, 1, stage.colours().ground);
      text.textContent = words.includes(null) ? "one side has no such word" : fields[0].isProbability ? `${percent(CV.moved(sideOf(0), sideOf(1)))} of its attention lies elsewhere` : "";
    }
    return { node, paint, cursor: (patch) => void (state && stage.paint(state, shownWords(), patch, false)), said: () => text.textContent && `${text.textContent}.`, stop: stage.stop };
  }

  /**
   * What the colour bar has to know of a field whose maps are subtracted.
   * @type {(field: Field) => BarField}
   */
  const barField = (field) => ({ isProbability: false, unit: `A minus B, ${field.isProbability ? "× chance" : field.unit}`, signed: true, alike: "", groups: (...choice) => field.groups(...choice) });

  /**
   * Every word that has another in its place, with it: what each found and, of one photo and in probabilities, how much moved.
   * @param {Payload[]} payloads
   * @param {Field[]} fields
   * @param {WordPair[]} pairs
   * @param {boolean} samePhoto
   * @param {{show: (both: Both) => void}} act
   * @returns {{node: HTMLElement, paint: (shown: Both, state: Through) => void, most: () => Both}}
   */
  function movedTable(payloads, fields, pairs, samePhoto, act) {
    const measures = samePhoto && fields.every((field) => field.isProbability);
    const found = fields.every((field) => field.nulls);
    const rows = pairs.flatMap((pair) => {
      if (!pair.first || !pair.second) return [];
      const what = { first: CV.runOf(...pair.first), second: CV.runOf(...pair.second) };
      const texts = [what.first, what.second].map((one, i) => fields[i].text(one));
      const name = el("button", { type: "button", class: "cv-link", on: { click: () => act.show(what) } }, ...(pair.same ? [el("bdi", { text: texts[0] })] : [el("bdi", { text: texts[0] }), " / ", el("bdi", { text: texts[1] })]));
      const cells = Array.from({ length: (found ? 2 : 0) + (measures ? 1 : 0) }, () => el("td", { class: "cv-figure" }));
      return [{ pair, what, cells, node: el("tr", {}, el("th", { scope: "row" }, name), ...cells), moved: 0 }];
    });
    const id = uid("moved");
    const body = el("tbody");
    const heads = ["Word", ...(found ? ["A found", "B found"] : []), ...(measures ? ["moved"] : [])];
    const about = measures ? "Moved: how much of the word’s attention, the null key’s share included, lies elsewhere on the other side: 0\u202f% is the same map, 100\u202f% nothing in common. Those that moved most stand first." : "";
    const node = el(
      "section",
      { class: "cv-comparing-table", "aria-labelledby": id, hidden: !rows.length || heads.length < 2 },
      el("h3", { class: "cv-label", id }, measures ? "What moved" : "What each word found", measures ? CV.hint("moved", about) : null),
      el("table", {}, el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col", text })))), body),
    );
    let painted = "";
    /** @type {(state: Through) => void} */
    function measure(state) {
      const now = JSON.stringify([state.layer, state.head]);
      if (now === painted) return;
      painted = now;
      for (const row of rows) {
        const words = [row.what.first, row.what.second];
        const nulls = words.map((what, i) => fields[i].nullMass(what, state.layer, state.head));
        const said = found ? nulls.map((mass) => percent(1 - Number(mass))) : [];
        if (measures) {
          const [first, second] = words.map((what, i) => side(payloads[i], fields[i], what, state));
          row.moved = CV.moved(first, second);
          said.push(percent(row.moved));
        }
        said.forEach((text, i) => (row.cells[i].textContent = text));
      }
      const order = measures ? [...rows].sort((a, b) => b.moved - a.moved) : rows;
      body.replaceChildren(...order.map((row) => row.node));
    }
    /** @type {(shown: Both, state: Through) => void} */
    function paint(shown, state) {
      measure(state);
      rows.forEach((row) => row.node.toggleAttribute("data-shown", row.what.first === shown.first && row.what.second === shown.second));
    }
    /** What is shown first: a word that was replaced, else the one that moved most. */
    function most() {
      /** @type {(i: number) => number | null} */
      const telling = (i) => CV.mostTelling(payloads[i], fields[i]);
      measure({ layer: null, head: null });
      if (!measures || !rows.length) {
        const first = telling(0);
        return { first, second: rows.find(({ what }) => what.first === first)?.what.second ?? telling(1) };
      }
      const replaced = rows.filter(({ pair }) => !pair.same);
      const from = replaced.length ? replaced : rows;
      return from.reduce((top, row) => (row.moved > top.moved ? row : top)).what;
    }
    return { node, paint, most };
  }

  Object.assign(CV, { jointScale, sideSaid, placeSaid, differencePanel, movedTable });
})();
