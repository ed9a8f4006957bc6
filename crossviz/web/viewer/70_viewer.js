// One explanation, drawn and explored in the browser from one payload (crossviz/render/payload.py): what is shown, and
// what each thing that is done changes in it.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  /** @type {(root: HTMLElement, payload: Payload, options: Options, prefs: Prefs, live: Live, how: How, visit: Visit) => Built} */
  function build(root, payload, options, prefs, live, how, visit) {
    const field = new CV.Field(payload);
    const maps = field.signed ? CV.DIVERGING : CV.SEQUENTIAL;
    /** @type {ViewState} */
    const state = {
      shown: null, // word or phrase (CV.runOf), or null: the last one pointed at
      held: new Map(), // word or phrase -> hue, in the order they were clicked; no two share a word
      layer: null, // null: all
      head: null, // null: all; a list of [layer, head] where several are pinned
      peek: null, // [layer, head] under the pointer in the head strip
      patch: null,
      query: null, // of attention in two steps: the query whose own map is shown
      ...prefs,
      cmap: prefs.cmap !== null && maps.includes(prefs.cmap) ? prefs.cmap : maps[0],
    };
    /** @type {(what: What) => string} */
    const text = (what) => field.text(what);
    /** @type {() => ViewState} */
    const choice = () => (state.peek ? { ...state, layer: state.peek[0], head: state.peek[1] } : state);
    /** @type {What | null} */
    let hovering = null; // a word or phrase under the pointer or the keyboard, shown instead of the held ones
    let chosen = false; // whether the reader has chosen what is shown, or the page has

    /** @type {() => ShownWord[]} */
    const words = () => {
      if (hovering !== null) return [{ word: hovering, hue: 0 }];
      if (state.held.size) return [...state.held].map(([word, hue]) => ({ word, hue }));
      return state.shown === null ? [] : [{ word: state.shown, hue: 0 }];
    };

    /** @type {() => View} */
    const view = () => ({ payload, field, state: choice(), words: words(), stage });

    const chips = CV.words(payload.caption, { show, hold, drop: unhover, clear }, payload.hidden ? payload.hidden.words : [], payload.phrases);
    const stage = CV.stage(payload, field, { patch, leave, clear, pick: (row, col) => inside.pick(row, col) });
    const readout = CV.readout();
    const ask = CV.askBox(payload, field, stage, prefs, { changed: () => paint({ sayPatch: true }) });
    const patches = CV.patchList(ask.node);
    const bar = CV.colourBar();
    const strip = CV.strip(payload, field, prefs, { preview, leave: unpreview, pin, unpin: () => keep([]) });
    const play = CV.layerPlay(field, { at: () => state.layer, go: playLayer, say: played });
    const controls = CV.controls(field, state, maps, play.node, { pick: choose, set, done: () => undo.note() });
    const settings = () => CV.settingsOf(field, state);
    const hiding = CV.hiding(payload, options, how.guesses, (word) => (prefs.again = { text: payload.caption.text, word }));
    const steps = CV.twoSteps(payload, stage, prefs, { look });
    const trust = CV.trust(payload, field, stage, options, prefs, live);
    const inside = CV.inside(payload, stage, options, prefs, live, { moved: () => paint({}) });
    const comparing = () => CV.compare(payload, visit.others(payload.id), prefs, live, Boolean(options.onSave));
    let compare = comparing();
    const notes = CV.notes(payload, field);
    state.shown = options.plain ? null : CV.firstShown(payload, field, prefs, how);
    take(how.settings);
    const undo = CV.undoing(settings, (wanted) => (take(wanted), paint({ heat: true })), live);
    const actions = el("div", { class: "cv-actions" }, undo.node, ...CV.saving(options, payload, view, settings, inside.cell, live));
    root.replaceChildren(
      el("div", { class: "cv-head-row" }, chips.node, field.reads ? null : el("p", { class: "cv-plainly", text: CV.EVERY_WORD })),
      el(
        "div",
        { class: "cv-main" },
        el("div", { class: "cv-left" }, stage.node, bar.node),
        el("div", { class: "cv-side" }, ...[readout.node, hiding.node, patches.node].filter(Boolean)),
      ),
      ...[steps.node, controls.node, actions, trust.node, strip.node, inside.node, compare.node, notes].filter((node) => node !== null),
    );
    chips.node.addEventListener("pointerleave", unhover);
    chips.node.addEventListener("focusout", (event) => chips.node.contains(event.relatedTarget) || unhover());

    let pointing = false; // with the pointer, not by keys: the browser hears of it while it makes a frame
    root.onpointerover = () => void (pointing = true);
    root.onkeydown = () => void (pointing = false); // a handler that returns false would undo the key

    /** @type {(what: What) => void} */
    function show(word) {
      if (hovering === word) return;
      hovering = word;
      chosen = true;
      if (!state.held.size) state.shown = word;
      undo.pointed();
      paint({ heat: true, say: true, passing: pointing });
    }
    function unhover() {
      if (hovering === null) return;
      hovering = null;
      paint({ heat: state.held.size > 0, passing: pointing });
    }
    /** @type {(what: What) => void} */
    function hold(what) {
      chosen = true;
      const words = CV.membersOf(what);
      // A phrase takes the place of what is held of its words; a word of a held phrase lets that go.
      const same = [...state.held.keys()].filter((other) => CV.membersOf(other).some((word) => words.includes(word)));
      const lets = state.held.has(what) || (words.length === 1 && same.length > 0);
      if (!lets && state.held.size - same.length >= CV.MOST_HELD) {
        paint({}); // what is still owed of the word that was pointed at comes before
        return live(`${CV.MOST_HELD} words are held already: let one go first.`);
      }
      const hue = state.held.get(same[0]);
      same.forEach((other) => state.held.delete(other));
      if (!lets) {
        const used = new Set(state.held.values());
        state.held.set(what, /** @type {number} */ (hue ?? [0, 1, 2, 3, 4, 5].find((free) => !used.has(free))));
      }
      state.shown = what;
      hovering = null;
      undo.note();
      paint({ heat: true, say: true });
    }
    function clear() {
      state.held.clear();
      state.shown = null;
      hovering = null;
      undo.note();
      paint({ heat: true });
      live("The plain photo.");
    }
    /** @type {(row: number, col: number, byKey: boolean) => void} */
    function patch(row, col, byKey) {
      state.patch = { row, col };
      paint({ sayPatch: byKey });
    }
    function leave() {
      state.patch = null;
      paint({});
    }
    /** @type {(query: number | null, told: string) => void} */
    function look(query, told) {
      if (state.query === query) return;
      state.query = query;
      paint({ heat: true });
      if (told) live(told);
    }
    /** @type {(layer: number, head: number) => void} */
    function preview(layer, head) {
      state.peek = [layer, head];
      paint({ heat: true, passing: pointing });
    }
    function unpreview() {
      if (!state.peek) return;
      state.peek = null;
      paint({ heat: true, passing: pointing });
    }
    /**
     * The heads that are chosen one by one.
     * @returns {Pin[]}
     */
    function pinned() {
      const { layer, head } = state;
      if (Array.isArray(head)) return head;
      return head === null || (layer === null && field.layers.length > 1) ? [] : [[layer ?? 0, head]];
    }
    /** @type {(layer: number, head: number) => void} */
    function pin(layer, head) {
      const others = pinned().filter(([l, h]) => l !== layer || h !== head);
      keep(others.length < pinned().length ? others : [...others, [layer, head]]);
    }
    /** @type {(pins: Pin[]) => void} */
    function keep(pins) {
      [state.layer, state.head] = pins.length === 1 ? pins[0] : [null, pins.length ? pins : null];
      state.peek = null;
      controls.sync(state);
      undo.note();
      paint({ heat: true, say: true });
    }
    /** @type {(layer: number) => void} */
    function playLayer(layer) {
      [state.layer, state.head, state.peek] = [layer, null, null];
      controls.sync(state);
      paint({ heat: true });
    }
    /**
     * Said of a layer at which the playing stops.
     * @type {(text: string) => void}
     */
    function played(text) {
      undo.note();
      live(text);
    }

    /**
     * A layer or head from the list: pinned heads are let go.
     * @type {(key: "layer" | "head", index: number | null) => void}
     */
    function choose(key, index) {
      if (Array.isArray(state.head)) state.head = null;
      state[key] = index;
      controls.sync(state);
      undo.note();
      paint({ heat: true, say: true });
    }
    /**
     * @template {keyof Drawing} K
     * @param {K} key
     * @param {Drawing[K]} value
     */
    function set(key, value) {
      for (const kept of [state, prefs]) Object.assign(kept, { [key]: value });
      if (key !== "opacity") undo.note(); // a drag is one step, noted at its end
      paint({ heat: true });
      if (key === "saw" && value) live(CV.seenInWords(payload));
    }
    /**
     * Settings from a link, a file or an earlier step, as far as they are possible here.
     * @param {unknown} wanted
     */
    function take(wanted) {
      const { held, ...rest } = CV.possibleSettings(field, maps, wanted);
      Object.assign(state, rest);
      for (const key of CV.DRAWN_SETTINGS) if (key in rest) Object.assign(prefs, { [key]: rest[key] });
      if (held) {
        const hues = new Map(held.filter((what) => state.held.has(what)).map((what) => [what, state.held.get(what)]));
        const free = [0, 1, 2, 3, 4, 5].filter((hue) => ![...hues.values()].includes(hue));
        state.held = new Map(held.map((what) => [what, /** @type {number} */ (hues.get(what) ?? free.shift())]));
      }
      state.peek = null;
      hovering = null;
      controls.sync(state);
    }

    const follow = CV.inPieces(true);
    /** @type {{heat?: boolean, say?: boolean, sayPatch?: boolean}} */
    let owed = {}; // what a paint that was passed over has not told yet

    /**
     * @param {{heat?: boolean, say?: boolean, sayPatch?: boolean, passing?: boolean}} what `passing`: whether something is
     *   only pointed at; then its map comes first, in the very next frame, and its line, figures and words in the one after
     */
    function paint({ heat = false, say = false, sayPatch = false, passing = false }) {
      follow.stop();
      root.toggleAttribute("data-owed", passing);
      const now = choice();
      const active = words();
      const nulls = field.nulls ? payload.caption.words.map((w, i) => (w.truncated ? null : field.nullMass(i, now.layer, now.head))) : null;
      const ranked = state.patch ? CV.rankAt(payload, field, now, state.patch) : ask.rank(now);
      chips.paint({
        nulls,
        shown: active.map(({ word }) => word),
        held: state.held,
        looks: ranked ? ranked.looks : null,
      });
      const word = active.length ? active[0].word : null;
      if (heat) steps.paint(word, now);
      if (state.query !== null) {
        paintQuery(now);
        if (heat || owed.heat) tellOfWord(now, active); // a word that was only passed over may owe it
        return;
      }
      stage.paint(now, active, state.patch || inside.cursor(), heat, field, !passing);
      owed = { heat: heat || owed.heat, say: say || owed.say, sayPatch };
      if (!passing) return tell(now, active, ranked);
      follow.begin(function* () {
        stage.ink();
        yield;
        tell(now, active, ranked);
      });
    }
    /**
     * All that is said of what is shown.
     * @type {(now: ReturnType<typeof choice>, active: ReturnType<typeof words>, ranked: ReturnType<typeof CV.rankAt> | null) => void}
     */
    function tell(now, active, ranked) {
      const { heat, say, sayPatch } = owed;
      owed = {};
      root.removeAttribute("data-owed");
      const share = now.contour || 0.5;
      /** @type {(word: What) => Stats} */
      const statsOf = (word) => field.stats(word, now.layer, now.head, now.smooth, share);
      /** @type {(word: What) => number | null} */
      const nullOf = (word) => field.nullMass(word, now.layer, now.head);
      if (heat) {
        const first = active.length ? field.values(active[0].word, now.layer, now.head) : null;
        bar.paint(field, field.scaleFor(first || [], { ...now, own: now.own && first !== null }), now, active.length, stage.colours().ground);
        readout.of(CV.through(field, now.layer, now.head));
        if (!active.length) readout.none(CV.similarity(payload));
        else if (active.length === 1) readout.one(text(active[0].word), field, nullOf(active[0].word), statsOf(active[0].word), { share, line: now.contour > 0 });
        else readout.many(active.map(({ word, hue }) => ({ text: text(word), phrase: typeof word === "string", hue, nullMass: nullOf(word), stats: statsOf(word) })), field);
      }
      if (heat) tellOfWord(now, active);
      if (ranked) patches.show(ranked.place, ranked.list, ranked.none);
      else patches.none();
      /** @type {(word: What) => string[]} */
      const whereOf = (word) => field.places(word, now.layer, now.head, share);
      if (heat) stage.describe(active.map(({ word }) => CV.mapSentence(text(word), field, nullOf(word), statsOf(word), whereOf(word))));
      if (say && active.length) live(active.map(({ word }) => CV.spoken(text(word), field, nullOf(word), statsOf(word), whereOf(word))).join(" "));
      if (sayPatch && !ranked) live("The box is gone.");
      else if (sayPatch && ranked) live(`${ranked.place}: ${ranked.list.map((r) => `${r.text} ${r.said}`).join(", ") || "no word looks here"}`);
    }

    /**
     * What stands outside the stage and follows the word, also while a query's map is in the place of the word's.
     * @type {(now: ReturnType<typeof choice>, active: ReturnType<typeof words>) => void}
     */
    function tellOfWord(now, active) {
      const word = active.length ? active[0].word : null;
      hiding.paint(active);
      trust.paint(active, now, chosen);
      compare.paint(state);
      inside.paint(active, state); // the head that is pinned, not every one that is passed over
      strip.paint({ word, text: word === null ? "" : text(word), pins: pinned(), preview: state.peek, own: state.own, cmap: state.cmap, opacity: state.opacity });
    }

    /**
     * One query's own map in the place of the word's.
     * @type {(now: ViewState) => void}
     */
    function paintQuery(now) {
      const one = { ...now, layer: null, head: null, cmap: CV.SEQUENTIAL.includes(now.cmap) ? now.cmap : CV.SEQUENTIAL[0] };
      const { field: queries } = steps;
      const { query } = state;
      if (!queries || query === null) return;
      stage.paint(one, [{ word: query, hue: 0 }], state.patch, true, queries);
      bar.paint(queries, queries.scaleFor(queries.values(query), one), one, 1, stage.colours().ground);
      readout.of("the second step alone");
      stage.describe([`The map of ${steps.name(query)} alone.`]);
      readout.one(steps.name(query), queries, null, queries.stats(query, null, null, now.smooth, now.contour || 0.5), { share: now.contour || 0.5, line: now.contour > 0 });
    }

    paint({ heat: true });
    // What hovering needs is worked out while nothing happens, so that every word switches at once.
    const waiting = [...payload.caption.words.keys()].filter((i) => !payload.caption.words[i].truncated);
    const idle = window.requestIdleCallback || ((fn) => setTimeout(() => fn(/** @type {IdleDeadline} */ ({ timeRemaining: () => 5 })), 50));
    let stopped = false;
    idle(function prepare(deadline) {
      while (!stopped && waiting.length && deadline.timeRemaining() > 3) stage.prepare(choice(), /** @type {number} */ (waiting.shift()));
      if (!stopped && waiting.length) idle(prepare);
    });
    const ready = stage.photo.decode ? stage.photo.decode().catch(() => undefined) : Promise.resolve();
    return {
      ready,
      stop() {
        stopped = true;
        stage.stop();
        chips.stop();
        trust.end();
        play.stop();
        follow.stop();
        strip.stop();
        inside.end();
        compare.stop();
        undo.stop();
      },
      /** Other answers of this visit are gone. */
      forgot() {
        compare.stop();
        const next = comparing();
        if (next.node) compare.node?.replaceWith(next.node);
        else compare.node?.remove();
        compare = next;
      },
      trust,
      inside,
      view,
      settings,
    };
  }

  Object.assign(CV, { build });
})();
