// Compare: this answer and another of the visit side by side, on one scale, with one cursor, and what differs between
// them. Everything is drawn from the two payloads.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  const TITLE = "Compare with another answer";
  const EMPTY = "Change the caption, the photo, the model or the method and press Explain: the answer before and the new one then stand here side by side, with what moved between them.";
  const ABOUT = "The two answers on one scale. Point at a word or a place on either side: the other side follows.";
  const OTHER_PHOTO = "The two answers are of different photos: there is nothing to subtract.";

  /**
   * What differs between two answers, as a sentence.
   * @type {(first: Payload, second: Payload) => string}
   */
  function differing(first, second) {
    const told = [
      [first.photo.src !== second.photo.src, "the photo"],
      [first.caption.text !== second.caption.text, "the caption"],
      [first.model.name !== second.model.name, "the model"],
      [first.method.name !== second.method.name, "the method"],
      [JSON.stringify(first.hidden?.words) !== JSON.stringify(second.hidden?.words), "the words that were hidden"],
    ].flatMap(([differs, name]) => (differs ? [name] : []));
    if (!told.length) return "The two answers are the same.";
    return `They differ in ${told.length > 1 ? `${told.slice(0, -1).join(", ")} and ${told.at(-1)}` : told[0]}.`;
  }

  /**
   * @param {Payload} payload
   * @param {Entry[]} others the other answers of this visit (73_visit.js)
   * @param {{compare: boolean}} prefs whether it is open
   * @param {Live} live
   * @param {boolean} more whether others may still come
   * @returns {ComparePart}
   */
  function compare(payload, others, prefs, live, more) {
    if (!others.length && !more) return { node: null, paint() {}, stop() {} };
    const intro = el("p", { class: "cv-note", text: others.length ? ABOUT : EMPTY });
    const place = el("div", { class: "cv-comparing-place" });
    const node = el("details", { class: "cv-comparing", open: Boolean(prefs.compare) }, el("summary", { text: TITLE }), intro);
    if (!others.length) return { node, paint() {}, stop() {} };

    let other = others[0];
    let swapped = false;
    /** @type {ReturnType<typeof sideBySide> | null} */
    let pair = null; // the two as they stand side by side
    /** @type {MapState | null} */
    let last = null; // the state that was last painted with
    /** @type {(entry: typeof other) => string} */
    const named = (entry) => entry.label + (entry.payload.photo.src === payload.photo.src ? "" : " · another photo");
    const choice = CV.select("Compare with", others.map((entry) => [entry.payload.id, named(entry)]), other.payload.id, (id) => {
      other = others.find((entry) => entry.payload.id === id) ?? other;
      draw();
    });
    const swap = el("button", { type: "button", class: "cv-button", text: "Swap sides", on: { click: () => ((swapped = !swapped), draw()) } });
    node.append(el("div", { class: "cv-comparing-choice" }, choice.node, swap), place);
    node.addEventListener("toggle", () => {
      prefs.compare = node.open;
      if (node.open && !pair) draw();
    });

    function draw() {
      const focused = place.contains(document.activeElement);
      stop();
      const [first, second] = swapped ? [other.payload, payload] : [payload, other.payload];
      pair = CV.sideBySide(first, second, swapped ? ["other", "this"] : ["this", "other"], live);
      place.replaceChildren(el("p", { class: "cv-comparing-differs", text: differing(first, second) }), pair.node);
      if (last) pair.paint(last);
      if (focused) /** @type {HTMLElement | null} */ (pair.node.querySelector(".cv-chip"))?.focus();
    }
    /** @type {(state: MapState) => void} */
    function paint(state) {
      last = state;
      if (!node.open) return;
      if (!pair) draw();
      else pair.paint(state);
    }
    function stop() {
      if (pair) pair.stop();
      pair = null;
    }
    return { node, paint, stop };
  }

  /** @type {Record<string, string>} */
  const NAMES = { this: "this answer", other: "the other answer" };

  /**
   * The panels of two payloads and of what differs, the table of what moved, and the cursor that all share.
   * @param {Payload} first
   * @param {Payload} second
   * @param {string[]} which of the two is "this" answer, which the "other" one
   * @param {Live} live
   * @returns {{node: HTMLElement, paint: (state: MapState) => void, stop: () => void}}
   */
  function sideBySide(first, second, which, live) {
    const fields = [first, second].map((payload) => new CV.Field(payload));
    const payloads = [first, second];
    const [ours, theirs] = payloads.map(({ caption }) => caption.words.filter((word) => !word.truncated).map((word) => word.text));
    const pairs = CV.wordPairs(ours, theirs);
    const samePhoto = first.photo.src === second.photo.src;
    const sameUnit = fields[0].unit === fields[1].unit && fields[0].signed === fields[1].signed;
    const subtracts = samePhoto && sameUnit;
    const sameHeads = first.model.name === second.model.name && first.method.name === second.method.name;
    /** @type {Both | null} */
    let held = null; // {first, second}: what is shown on each side
    /** @type {Both | null} */
    let hovering = null;
    /** @type {Omit<MapState, "saw"> | null} */
    let settings = null;
    let key = "";
    /** @type {Point | null} */
    let at = null; // [x, y] of the cursor, as shares of the photo

    const shown = () => hovering || held || { first: null, second: null };
    /**
     * A word with the one in its place; one that has none leaves the other side as it is.
     * @type {(side: "first" | "second", what: What) => Both}
     */
    const both = (side, what) => {
      const found = CV.paired(pairs, side, what);
      return { first: found.first ?? held?.first ?? null, second: found.second ?? held?.second ?? null };
    };
    /** @type {(side: "first" | "second") => WordAct} */
    const act = (side) => ({
      show: (what) => point(both(side, what)),
      hold: (what) => hold(both(side, what)),
      drop: () => point(null),
      clear: () => hold({ first: null, second: null }),
    });
    const chips = /** @type {("first" | "second")[]} */ (["first", "second"]).map((side, i) => CV.words(payloads[i].caption, act(side), payloads[i].hidden ? payloads[i].hidden.words : [], payloads[i].phrases));
    chips.forEach(({ node }) => {
      node.addEventListener("pointerleave", () => point(null));
      node.addEventListener("focusout", (event) => node.contains(event.relatedTarget) || point(null));
    });
    /** @type {(i: number) => PatchAct} */
    const cursor = (i) => ({
      patch: (row, col, byKey) => look(centre(payloads[i], row, col), byKey),
      leave: () => look(null),
      clear: () => hold({ first: null, second: null }),
      pick() {},
    });
    const joint = () => {
      const now = shown();
      return CV.jointScale(fields, [now.first, now.second], stateOf(0));
    };
    const stages = payloads.map((payload, i) => CV.stage(payload, fields[i], cursor(i), {
      heat: (state, [{ word }], size) => {
        const values = fields[i].values(word, state.layer, state.head);
        return CV.heatOne(payload, fields[i], values, joint()[i], { ...size, smooth: state.smooth, opacity: state.opacity, cmap: state.cmap });
      },
    }));
    const difference = subtracts ? CV.differencePanel(payloads, fields, cursor(0)) : null;
    const said = [0, 1].map(() => el("p", { class: "cv-comparing-said" }));
    const bars = [0, 1].map(() => CV.colourBar());
    const where = el("p", { class: "cv-comparing-where", role: "status", "aria-live": "off" });
    /** @type {(i: number) => HTMLElement} */
    const panel = (i) =>
      el(
        "section",
        { class: "cv-comparing-side", "aria-label": `${"AB"[i]}: ${NAMES[which[i]]}` },
        el("h3", { class: "cv-label", text: `${"AB"[i]} · ${NAMES[which[i]]}` }),
        el("p", { class: "cv-note", text: `${payloads[i].model.title} · ${payloads[i].method.title}` }),
        chips[i].node,
        stages[i].node,
        said[i],
        bars[i].node,
      );
    const table = CV.movedTable(payloads, fields, pairs, samePhoto, { show: hold });
    const node = el(
      "div",
      { class: "cv-comparing-pair" },
      el("div", { class: "cv-comparing-sides" }, ...[panel(0), panel(1), difference?.node].filter(Boolean)),
      difference ? null : el("p", { class: "cv-note cv-comparing-not", text: samePhoto ? `Maps in ${fields[0].unit} and in ${fields[1].unit} can’t be subtracted, and each side has its own scale.` : OTHER_PHOTO }),
      where,
      table.node,
    );

    /** @type {(what: Both | null) => void} */
    function point(what) {
      if (JSON.stringify(what) === JSON.stringify(hovering)) return;
      hovering = what;
      paintMaps(what !== null);
    }
    /** @type {(what: Both) => void} */
    function hold(what) {
      held = what;
      hovering = null;
      paintMaps(true);
    }
    /**
     * @param {Point | null} next
     * @param {boolean} [byKey]
     */
    function look(next, byKey = false) {
      at = next;
      paintCursor(byKey);
    }

    /**
     * How a side's map is drawn: layer and head only where both sides have the same.
     * @type {(i: number) => MapState}
     */
    function stateOf(i) {
      const maps = fields[i].signed ? CV.DIVERGING : CV.SEQUENTIAL;
      const now = /** @type {MapState} */ (settings);
      return { ...now, cmap: maps.includes(now.cmap) ? now.cmap : maps[0], saw: false };
    }
    /** @type {(say: boolean) => void} */
    function paintMaps(say) {
      if (!settings) return;
      const now = [shown().first, shown().second];
      now.forEach((what, i) => {
        const state = stateOf(i);
        stages[i].paint(state, what === null ? [] : [{ word: what, hue: 0 }], patchAt(i), true);
        const nulls = fields[i].nulls ? payloads[i].caption.words.map((w, k) => (w.truncated ? null : fields[i].nullMass(k, state.layer, state.head))) : null;
        const chosen = held && (i ? held.second : held.first);
        chips[i].paint({ nulls, shown: what === null ? [] : [what], held: new Map(chosen === null || chosen === undefined ? [] : [[chosen, 0]]), looks: null });
        said[i].textContent = CV.sideSaid(fields[i], what, state);
      });
      difference?.paint(now, settings, patchAt(0));
      joint().forEach((scale, i) => bars[i].paint(fields[i], scale, stateOf(i), 1, stages[i].colours().ground));
      table.paint(shown(), settings);
      paintCursor(false);
      if (say) live([...said.map((line, i) => `${"AB"[i]}: ${now[i] === null ? "no word here" : `${fields[i].text(now[i])}, ${line.textContent}`}.`), difference ? difference.said() : ""].join(" "));
    }

    /**
     * Middle of a patch, as shares of the photo.
     * @type {(payload: Payload, row: number, col: number) => Point}
     */
    function centre(payload, row, col) {
      const [x0, y0, x1, y1] = payload.view.crop_xyxy;
      const { width, height } = payload.photo;
      return [(x0 + ((col + 0.5) / payload.grid.width) * (x1 - x0)) / width, (y0 + ((row + 0.5) / payload.grid.height) * (y1 - y0)) / height];
    }
    /** @type {(i: number) => Patch | null} */
    function patchAt(i) {
      if (!at) return null;
      const { view, photo, grid } = payloads[i];
      const [x0, y0, x1, y1] = view.crop_xyxy;
      const col = Math.floor(((at[0] * photo.width - x0) / (x1 - x0)) * grid.width);
      const row = Math.floor(((at[1] * photo.height - y0) / (y1 - y0)) * grid.height);
      return row >= 0 && col >= 0 && row < grid.height && col < grid.width ? { row, col } : null;
    }
    /** @type {(byKey: boolean) => void} */
    function paintCursor(byKey) {
      const now = [shown().first, shown().second];
      const values = now.map((what, i) => {
        const patch = patchAt(i);
        stages[i].paint(stateOf(i), what === null ? [] : [{ word: what, hue: 0 }], patch, false);
        return what === null || !patch ? null : fields[i].values(what, stateOf(i).layer, stateOf(i).head)[patch.row * fields[i].gw + patch.col] * fields[i].factor;
      });
      difference?.cursor(patchAt(0));
      where.textContent = CV.placeSaid(at, values, fields, subtracts);
      if (byKey) live(where.textContent);
    }
    /** @type {(state: MapState) => void} */
    function paint(state) {
      const next = { smooth: state.smooth, own: state.own, opacity: state.opacity, cmap: state.cmap, contour: state.contour, layer: sameHeads ? state.layer : null, head: sameHeads ? state.head : null };
      const nextKey = JSON.stringify(next);
      if (nextKey === key) return;
      [settings, key] = [next, nextKey];
      if (!held) held = table.most();
      paintMaps(false);
    }
    return { node, paint, stop: () => [...stages, ...chips, ...(difference ? [difference] : [])].forEach((part) => part.stop()) };
  }

  Object.assign(CV, { compare, sideBySide });
})();
