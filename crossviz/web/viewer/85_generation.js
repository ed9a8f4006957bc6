// One generated picture, explored: where each word wrote, which words wrote a place, and how it came about step by step.
(() => {
  "use strict";
  const CV = (window.CrossvizViewer = window.CrossvizViewer || {});
  const { el } = CV;

  /** @type {[title: string, text: string]} */
  const IDLE = ["At a place", "Point at the picture, or move there with the arrow keys: the words that this place was drawn from."];
  const DIRECTIONS = { "query: image": "Picture asks words", "query: text": "Words ask picture" };
  const ABOUT = {
    "query: image": "Each place of the picture, while it was drawn, asked the words: the map is where a word wrote.",
    "query: text": "Each word asks the places of the finished picture: the map is where it finds itself.",
  };

  /** @type {(maps: GenerationMaps) => keyof typeof ABOUT} */
  const sideOf = ({ direction }) => (direction.startsWith("query: image") ? "query: image" : "query: text");

  /**
   * @param {HTMLElement} root is filled
   * @param {Generation} generation unpacked
   * @param {GenerationOptions} options
   * @param {GenerationPrefs} prefs
   * @param {Live} live
   * @returns {BuiltGeneration}
   */
  function buildGeneration(root, generation, options, prefs, live) {
    const sides = generation.directions.map((maps) => {
      const payload = CV.asPayload(generation, maps);
      const field = new CV.Field(payload);
      if (field.looked) [field.wrote, field.alike] = [true, "asks all words alike"];
      return { maps, payload, field };
    });
    const { payload, field: whole } = sides[0];
    const last = generation.frames.steps.length - 1;
    /** @type {MapState & {side: number, frame: number, held: Map<What, number>, patch: Patch | null}} */
    const state = {
      layer: null,
      head: null,
      smooth: prefs.smooth,
      own: false,
      opacity: 0.85,
      cmap: CV.SEQUENTIAL[0],
      contour: 0.5,
      saw: false,
      side: Math.min(prefs.side, sides.length - 1),
      frame: last,
      held: new Map(),
      patch: null,
    };
    /** @type {What | null} */
    let hovering = null;
    /** @type {number[]} */
    let same = []; // places of the entry that is pointed at
    /** @type {Map<string, Field>} */
    const then = new Map();

    /** @type {() => ShownWord[]} */
    const words = () => (hovering !== null ? [{ word: hovering, hue: 0 }] : [...state.held].map(([word, hue]) => ({ word, hue })));
    const side = () => sides[state.side];
    const done = () => generation.frames.steps[state.frame];
    /** @type {() => Field} */
    function field() {
      if (state.frame === last) return side().field;
      const key = `${state.side} ${state.frame}`;
      const found = then.get(key) ?? CV.fieldAt(generation, side().maps, side().field, done());
      if (then.size > 80) then.clear();
      then.set(key, found);
      return found;
    }

    const chips = CV.words(generation.caption, { show, hold, drop: unhover, clear });
    const stage = CV.stage(payload, whole, { patch, leave, clear, pick() {} }, { ink });
    stage.photo.alt = "The picture";
    stage.frame.setAttribute("aria-roledescription", "places of the picture");
    stage.frame.setAttribute("aria-label", `The picture, as ${whole.gh} rows of ${whole.gw} places. Arrow keys move from place to place, Escape leaves.`);
    const frames = CV.frames(generation);
    stage.photo.after(frames.node);
    const time = CV.timeline(frames.steps, { go, say: live });
    const bar = CV.colourBar();
    const readout = CV.wrote();
    const patches = CV.patchList(null, IDLE);
    const tokens = CV.tokens(generation, stage, prefs, { look, say: live });
    const controls = controlsOf();
    root.replaceChildren(
      el("div", { class: "cv-head-row" }, chips.node),
      el(
        "div",
        { class: "cv-main" },
        el("div", { class: "cv-left" }, stage.node, frames.steps.length > 1 ? time.node : null, bar.node),
        el("div", { class: "cv-side" }, CV.verdictLine(generation.verdict), el("p", { class: "cv-note cv-told-settings", text: CV.settingsLine(generation.settings) }), readout.node, patches.node),
      ),
      controls.node,
      actions(),
      ...[tokens.node, notes()].filter((node) => node !== null),
    );
    chips.node.addEventListener("pointerleave", unhover);
    chips.node.addEventListener("focusout", (event) => chips.node.contains(event.relatedTarget) || unhover());

    function controlsOf() {
      const pick = CV.segmented("Who asks", sides.map(({ maps }, i) => /** @type {[string, string]} */ ([String(i), DIRECTIONS[sideOf(maps)]])), String(state.side), (value) => {
        [state.side, state.layer, state.head] = [Number(value), null, null];
        prefs.side = state.side;
        sync();
        paint(true, true);
      });
      /** @type {(value: string) => number | null} */
      const index = (value) => (value === "all" ? null : Number(value));
      const layer = CV.select("Layer", [], "all", (value) => ((state.layer = index(value)), paint(true, true)));
      const head = CV.select("Head", [], "all", (value) => ((state.head = index(value)), paint(true, true)));
      const view = CV.segmented("View", [["smooth", "Smooth"], ["patches", "Places"]], state.smooth ? "smooth" : "patches", (value) => {
        state.smooth = prefs.smooth = value === "smooth";
        paint(true);
      });
      /** The layers and heads of the side that is shown; at a single step of a model that keeps those, there are none. */
      function sync() {
        const { field: own, maps } = side();
        const apart = own.hasHeads && !(state.frame !== last && maps.steps);
        if (!apart) state.layer = state.head = null;
        const fill = (/** @type {HTMLSelectElement} */ control, /** @type {string[]} */ names, /** @type {number | null} */ at) => {
          control.replaceChildren(el("option", { value: "all", text: "all, averaged" }), ...names.map((text, i) => el("option", { value: i, text })));
          control.value = at === null ? "all" : String(at);
          control.disabled = !apart;
        };
        fill(layer.control, own.layers, state.layer);
        fill(head.control, Array.from({ length: own.heads }, (_, i) => `head ${i + 1}`), typeof state.head === "number" ? state.head : null);
        layer.node.hidden = sides.every((one) => one.field.layers.length < 2);
        head.node.hidden = sides.every((one) => one.field.heads < 2);
      }
      sync();
      const node = el("div", { class: "cv-controls" }, sides.length > 1 ? pick.node : null, layer.node, head.node, view.node);
      return { node, sync };
    }
    function sync() {
      controls.sync();
    }
    function actions() {
      const formats = [["view", "this view, PNG"], ...(options.onSave ? (options.formats ?? []) : [])];
      const format = CV.select("Save", formats, "view", () => undefined, "cv-save");
      const save = () => {
        if (format.control.value === "view") return void CV.download(view());
        options.onSave?.(format.control.value, generation.id, words().map(({ word }) => whole.span(word)));
      };
      /** @type {(text: string, click: () => void) => HTMLElement} */
      const button = (text, click) => el("button", { type: "button", class: "cv-button", text, on: { click } });
      const saving = options.onSave ? [format.node, button("Save", save)] : [button("Save as PNG", save)];
      const explain = options.onExplain ? button("Explain this picture", () => options.onExplain?.(generation.id)) : null;
      return el("div", { class: "cv-actions" }, explain, el("div", { class: "cv-saving" }, ...saving));
    }
    function notes() {
      const { model, provenance } = generation;
      /** @type {(term: string, text: string) => HTMLElement} */
      const line = (term, text) => el("div", {}, el("dt", { text: term }), el("dd", { text }));
      const trained = model.trained ? "" : " (untrained weights: nothing here was learned)";
      const rows = [
        line("Model", `${model.name}${trained}, on ${provenance.device}`),
        line("Maps", "Cross-attention between the words and the places of the picture, in multiples of chance: 1 is what each gets where all are asked alike."),
        ...generation.notes.map((text, i) => line(i ? "" : "Notes", text)),
      ];
      return el("section", { class: "cv-notes", "aria-label": "How this picture was made" }, el("dl", { class: "cv-about" }, ...rows));
    }

    /** @type {(what: What) => void} */
    function show(what) {
      if (hovering === what) return;
      hovering = what;
      paint(true, true);
    }
    function unhover() {
      if (hovering === null) return;
      hovering = null;
      paint(true);
    }
    /** @type {(what: What) => void} */
    function hold(what) {
      const own = CV.membersOf(what);
      const others = [...state.held.keys()].filter((other) => CV.membersOf(other).some((word) => own.includes(word)));
      const lets = state.held.has(what) || (own.length === 1 && others.length > 0);
      if (!lets && state.held.size - others.length >= CV.MOST_HELD) return live(`${CV.MOST_HELD} words are held already: let one go first.`);
      others.forEach((other) => state.held.delete(other));
      if (!lets) state.held.set(what, /** @type {number} */ ([0, 1, 2, 3, 4, 5].find((hue) => ![...state.held.values()].includes(hue))));
      hovering = null;
      paint(true, true);
    }
    function clear() {
      state.held.clear();
      hovering = null;
      paint(true);
      live("The picture.");
    }
    /** @type {(row: number, col: number, byKey?: boolean) => void} */
    function patch(row, col, byKey = false) {
      state.patch = { row, col };
      tokens.mark(state.patch);
      paint(false);
      const ranked = CV.askedAt(side().maps, field(), state, state.patch);
      if (byKey) live(`${ranked.place}: ${ranked.list.map(({ text, said }) => `${text} ${said}`).join(", ") || ranked.none}`);
    }
    function leave() {
      state.patch = null;
      tokens.mark(null);
      paint(false);
    }
    /** @type {(index: number) => void} */
    function go(index) {
      state.frame = index;
      frames.show(index);
      sync();
      tokens.paint(index === last ? Infinity : done());
      paint(true);
    }
    /** @type {(places: number[]) => void} */
    function look(places) {
      same = places;
      paint(false);
    }
    /** @type {(ctx: CanvasRenderingContext2D, colours: Palette, size: Size) => void} */
    function ink(ctx, colours, { width, height }) {
      const to = CV.gridToDisplay(payload, width, height);
      if (!same.length) return;
      const inside = new Float64Array(whole.size);
      for (const place of same) inside[place] = 1;
      CV.strokeOutline(ctx, CV.outlineAt(inside, whole.gh, whole.gw, false, 1), to, colours, (2 * width) / 480);
    }
    /** @type {() => View} */
    function view() {
      const shown = state.frame === last ? null : frames.picture(state.frame);
      const photo = shown && /** @type {HTMLImageElement} */ (/** @type {unknown} */ (Object.assign(shown, { naturalWidth: shown.width, naturalHeight: shown.height })));
      return { payload: side().payload, field: field(), state, words: words(), stage: photo ? { ...stage, photo } : stage };
    }

    /** @type {(heat: boolean, say?: boolean) => void} */
    function paint(heat, say = false) {
      const now = field();
      const active = words();
      const { layer, head, smooth } = state;
      const ranked = state.patch && CV.askedAt(side().maps, now, state, state.patch);
      root.classList.toggle("cv-coarse", !smooth);
      const { nulls } = now;
      chips.paint({
        nulls: nulls && generation.caption.words.map((word, i) => (word.truncated ? null : now.nullMass(i, layer, head))),
        shown: active.map(({ word }) => word),
        held: state.held,
        looks: ranked ? ranked.looks : null,
      });
      stage.paint(state, active, state.patch, heat, now);
      if (ranked) patches.show(ranked.place, ranked.list, ranked.none);
      else patches.none();
      if (!heat) return;
      /** @type {(what: What) => Stats} */
      const stats = (what) => now.stats(what, layer, head, smooth);
      /** @type {(what: What) => string} */
      const told = (what) => CV.mapSentence(now.text(what), now, now.nullMass(what, layer, head), stats(what), now.places(what, layer, head, 0.5));
      const about = ABOUT[sideOf(side().maps)];
      const through = CV.through(now, layer, head);
      const which = `${about}${through ? ` Shown: ${through}.` : ""}`;
      const first = active.length ? now.values(active[0].word, layer, head) : [];
      bar.paint(now, now.scaleFor(first, state), state, active.length, stage.colours().ground);
      if (!active.length) readout.none(about);
      else if (active.length > 1) readout.many(active.map(({ word, hue }) => ({ text: now.text(word), hue, field: now, stats: stats(word) })), which);
      else {
        const { word } = active[0];
        readout.one(now.text(word), which, now, now.nullMass(word, layer, head), stats(word), told(word));
      }
      stage.describe(active.length ? active.map(({ word }) => told(word)) : ["The picture, without a map."]);
      if (say && active.length) live(active.map(({ word }) => told(word)).join(" "));
    }

    tokens.paint(Infinity);
    frames.show(last);
    paint(true);
    const ready = Promise.all([stage.photo.decode().catch(() => undefined), frames.ready]);
    return {
      ready,
      view,
      stop() {
        time.stop();
        stage.stop();
        chips.stop();
      },
    };
  }

  Object.assign(CV, { buildGeneration });
})();
